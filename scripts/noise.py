"""Rule noise: what noise the shards of one round are scored with."""

import json
from pathlib import Path

from cryocore.backend import get_backend
from cryocore.cli import run
from cryocore.score import noise_of_round
from cryocore.settings.score import Score


def main(
    particles: Path,
    round_dir: Path,
    out: Path,
    subset: Path | None = None,
    settings: str = "{}",
    backend: str = "auto",
    threads: int = 1,
) -> None:
    """Write the noise power of the optics groups or micrographs."""
    v, engine = json.loads(settings), get_backend(backend, threads=threads)
    how = {"settings": Score.model_validate(v["score"]), "symmetry": v["symmetry"], "seed": v["seed"]}
    noise_of_round(particles, round_dir, subset, **how, backend=engine, out=out)


if __name__ == "__main__":
    run(main)
