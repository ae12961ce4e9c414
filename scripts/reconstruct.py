"""Rule reconstruct: the half maps of one round."""

import json
from pathlib import Path
from typing import Any

from cryocore.backend import get_backend
from cryocore.cli import run
from cryocore.reconstruct import reconstruct
from cryocore.settings.reconstruct import Reconstruct


def main(
    particles: Path,
    out_dir: Path,
    subset: Path | None = None,
    mask: Path | None = None,
    previous_sums: Path | None = None,
    cache: Path | None = None,
    sums: list[Path] | None = None,
    settings: str = "{}",
    backend: str = "auto",
    threads: int = 1,
) -> None:
    """Write both half maps, their FSC, the merged map and the mask."""
    v, engine = json.loads(settings), get_backend(backend, threads=threads)
    how: dict[str, Any] = {
        "settings": Reconstruct.model_validate(v["reconstruct"]),
        "symmetry": v["symmetry"],
        "backend": engine,
    }
    files: dict[str, Any] = {"out_dir": out_dir, "previous_sums": previous_sums, "cache": cache, "sums_of_shards": sums}
    reconstruct(particles, subset, mask, **how, **files)


if __name__ == "__main__":
    run(main)
