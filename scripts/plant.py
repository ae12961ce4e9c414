"""Rule plant: errors planted into real particles."""

import json
from pathlib import Path

from cryocore.cli import run
from cryocore.ingest.plant import plant
from cryocore.settings.plant import PlantedErrors


def main(star: Path, out_dir: Path, settings: str = "{}") -> None:
    """Write the STAR file with the errors, and the truth."""
    values = json.loads(settings)
    plant(star, PlantedErrors.model_validate(values.pop("plant")), out_dir=out_dir, **values)


if __name__ == "__main__":
    run(main)
