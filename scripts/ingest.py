"""Rule ingest: from a file of particles to the particle table."""

import json
from pathlib import Path

from cryocore.cli import run
from cryocore.ingest.particles import ingest


def main(star: Path, particles: Path, settings: str = "{}") -> None:
    """Check every particle and write one row for each."""
    values = json.loads(settings)
    ingest(star, **values).write(particles)


if __name__ == "__main__":
    run(main)
