"""Rule score: every particle against the maps of one round."""

import json
from pathlib import Path

from cryocore.backend import get_backend
from cryocore.cli import run
from cryocore.config import Score
from cryocore.score import score


def main(
    particles: Path,
    round_dir: Path,
    out: Path,
    round_number: int,
    subset: Path | None = None,
    cache: Path | None = None,
    settings: str = "{}",
    backend: str = "auto",
    threads: int = 1,
) -> None:
    """Write the scores and the band statistics of all particles."""
    v, engine = json.loads(settings), get_backend(backend, threads=threads)
    how = {"settings": Score.model_validate(v["score"]), "symmetry": v["symmetry"], "seed": v["seed"]}
    score(particles, round_dir, subset, **how, round_number=round_number, backend=engine, out=out, cache=cache)


if __name__ == "__main__":
    run(main)
