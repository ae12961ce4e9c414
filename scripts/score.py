"""Rule score: every particle against the maps of one round."""

import json
from pathlib import Path
from typing import Any

from cryocore.backend import get_backend
from cryocore.cli import run
from cryocore.score import score
from cryocore.settings.score import Score
from cryocore.shards import Shard


def main(
    particles: Path,
    round_dir: Path,
    out: Path,
    round_number: int,
    subset: Path | None = None,
    cache: Path | None = None,
    noise: Path | None = None,
    shard: str = "0/1",
    settings: str = "{}",
    backend: str = "auto",
    threads: int = 1,
) -> None:
    """Write the scores and the band statistics of the particles of shard INDEX/COUNT."""
    v, engine = json.loads(settings), get_backend(backend, threads=threads)
    how: dict[str, Any] = {"settings": Score.model_validate(v["score"]), "symmetry": v["symmetry"], "seed": v["seed"]}
    part: dict[str, Any] = {
        "round_number": round_number,
        "out": out,
        "cache": cache,
        "shard": Shard.parse(shard),
        "noise": noise,
    }
    score(particles, round_dir, subset, **how, **part, backend=engine)


if __name__ == "__main__":
    run(main)
