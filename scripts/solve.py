"""Rule reconstruct, by iteration: the half maps of one round by minimising a robust loss."""

import json
from pathlib import Path

from cryocore.backend import get_backend
from cryocore.cli import run
from cryocore.settings.solve import Solve


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
    """Write both half maps, their FSC, the merged map, the mask, and how they came about."""
    from cryocore.solve import solve, started_ranks

    v = json.loads(settings)
    how = {"settings": Solve.model_validate(v["reconstruct"]), "symmetry": v["symmetry"], "seed": v["seed"]}
    with started_ranks(threads) as ranks:
        engine = get_backend(backend, threads=ranks.threads)
        solve(particles, subset, mask, **how, backend=engine, ranks=ranks, out_dir=out_dir, cache=cache)


if __name__ == "__main__":
    run(main)
