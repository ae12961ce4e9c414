"""Rule classify: the probability of being right, by residual images."""

import json
from pathlib import Path
from typing import Any

from cryocore.backend import get_backend
from cryocore.classify import classify
from cryocore.cli import run
from cryocore.settings.classify import Classify


def main(
    particles: Path,
    scores: Path,
    round_dir: Path,
    out_scores: Path,
    out_dir: Path,
    subset: Path | None = None,
    model: Path | None = None,
    cache: Path | None = None,
    settings: str = "{}",
    backend: str = "auto",
    threads: int = 1,
) -> None:
    """Write the scores of a round with the classifier's probability, and what it is worth."""
    v, engine = json.loads(settings), get_backend(backend, threads=threads)
    how: dict[str, Any] = {
        "settings": Classify.model_validate(v["classify"]),
        "symmetry": v["symmetry"],
        "seed": v["seed"],
    }
    files: dict[str, Any] = {"model": model, "cache": cache, "out_scores": out_scores, "out_dir": out_dir}
    classify(particles, scores, round_dir, subset, **how, **files, backend=engine)


if __name__ == "__main__":
    run(main)
