"""Rule ingest: from a STAR file to the particle table."""

import json
from pathlib import Path

from cryocore.cli import run
from cryocore.ingest.particles import ingest


def main(star: Path, particles: Path, settings: str = "{}") -> None:
    """Check every particle and write one row for each."""
    values = json.loads(settings)
    table = ingest(star, root=values["root"], pixel_size_angstrom=values["pixel_size_angstrom"], seed=values["seed"])
    table.write(particles)


if __name__ == "__main__":
    run(main)
