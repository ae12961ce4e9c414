"""Rule sum: the Fourier sums of one shard of the particles."""

import json
from pathlib import Path
from typing import Any

from cryocore.backend import get_backend
from cryocore.cli import run
from cryocore.reconstruct import sum_shard
from cryocore.settings.reconstruct import Reconstruct
from cryocore.shards import Shard


def main(
    particles: Path,
    shard: str,
    out: Path,
    subset: Path | None = None,
    previous_sums: Path | None = None,
    cache: Path | None = None,
    settings: str = "{}",
    backend: str = "auto",
    threads: int = 1,
) -> None:
    """Write the sums of shard INDEX/COUNT."""
    how: dict[str, Any] = {"settings": Reconstruct.model_validate(json.loads(settings)["reconstruct"])}
    files: dict[str, Any] = {"out": out, "previous_sums": previous_sums, "cache": cache}
    sum_shard(particles, subset, Shard.parse(shard), **how, **files, backend=get_backend(backend, threads=threads))


if __name__ == "__main__":
    run(main)
