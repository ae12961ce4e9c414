"""Rule cache: compact transforms of the images."""

import json
from pathlib import Path

from cryocore.backend import get_backend
from cryocore.cache import cache
from cryocore.cli import run


def main(particles: Path, out: Path, settings: str = "{}", backend: str = "auto", threads: int = 1) -> None:
    """Write the transform of every image, within the band in use, in half precision."""
    resolution = json.loads(settings)["max_resolution_angstrom"]
    cache(particles, max_resolution_angstrom=resolution, backend=get_backend(backend, threads=threads), out=out)


if __name__ == "__main__":
    run(main)
