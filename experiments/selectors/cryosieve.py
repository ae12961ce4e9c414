"""CryoSieve's rule as a program of its own: ``python -m experiments.selectors.cryosieve HOME OUT``."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa

from cryocore.config.file import read_config
from cryocore.tables.io import write_table
from experiments.comparisons import cryosieve_ranks
from experiments.selectors.sets import as_run


def main() -> None:
    """Write the rank of each particle, and which of them each round keeps."""
    home, out = map(Path, sys.argv[1:])
    with as_run(home, read_config(home / "config.yaml"), 1) as (run, data):
        rank, subsets = cryosieve_ranks(run, self_contribution=True)
        kept = {f"kept_{number}": pa.array(subset.astype(float)) for number, subset in enumerate(subsets, start=1)}
        write_table(out, pa.table({"particle_id": data.ids, "rank": rank, **kept}))


if __name__ == "__main__":
    main()
