"""Rule reconstruct, iterative: the half maps of one round by minimising a robust loss."""

import json
from pathlib import Path

from cryocore.backend import get_backend
from cryocore.cli import run
from cryocore.config import Reconstruct
from cryocore.solve.ranks import started_ranks
from cryocore.solve.stage import solve


def main(
    particles: Path,
    out_dir: Path,
    subset: Path | None = None,
    mask: Path | None = None,
    cache: Path | None = None,
    settings: str = "{}",
    backend: str = "auto",
    threads: int = 1,
) -> None:
    """Write both half maps, their FSC, the merged map and the mask, the particles' weights and the epochs."""
    v, engine = json.loads(settings), get_backend(backend, threads=threads)
    how = {"settings": Reconstruct.model_validate(v["reconstruct"]), "symmetry": v["symmetry"], "seed": v["seed"]}
    with started_ranks(engine.name) as ranks:
        solve(particles, subset, mask, **how, backend=engine, ranks=ranks, out_dir=out_dir, cache=cache)


if __name__ == "__main__":
    run(main)
