"""Rule cache: compact transforms of the images."""

import json
from pathlib import Path

from cryocore.backend import get_backend
from cryocore.cache import cache
from cryocore.cli import run
from cryocore.shards import Shard


def main(
    particles: Path, out: Path, shard: str = "0/1", settings: str = "{}", backend: str = "auto", threads: int = 1
) -> None:
    """Write the transform of every image of shard INDEX/COUNT, within the band in use, in half precision."""
    how = {"max_resolution_angstrom": json.loads(settings)["max_resolution_angstrom"], "shard": Shard.parse(shard)}
    cache(particles, **how, backend=get_backend(backend, threads=threads), out=out)


if __name__ == "__main__":
    run(main)
