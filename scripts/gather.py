"""Rule gather: the scores of all shards as one table."""

from pathlib import Path

from cryocore.cli import run
from cryocore.gather import gather


def main(particles: Path, out: Path, shards: list[Path]) -> None:
    """Write the scores of the shards, which are given in order, one after the other."""
    gather(particles, shards, out)


if __name__ == "__main__":
    run(main)
