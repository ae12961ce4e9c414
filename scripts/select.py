"""Rule select: the particles of the next round."""

import json
from pathlib import Path

from cryocore.cli import run
from cryocore.select.stage import select
from cryocore.settings.select import Select


def main(
    particles: Path, scores: Path, out_table: Path, out_star: Path, round_number: int, settings: str = "{}"
) -> None:
    """Write the weight of every particle, and a STAR file of the kept ones."""
    v = json.loads(settings)
    common = {"settings": Select.model_validate(v["select"]), "symmetry": v["symmetry"], "seed": v["seed"]}
    select(particles, scores, **common, round_number=round_number, out_table=out_table, out_star=out_star)


if __name__ == "__main__":
    run(main)
