"""Rule simulate: a synthetic data set with planted errors."""

import json
from pathlib import Path

from cryocore.backend import get_backend
from cryocore.cli import run
from cryocore.ingest.simulate import simulate
from cryocore.settings.plant import PlantedErrors
from cryocore.settings.simulate import Simulate


def main(out_dir: Path, settings: str = "{}", backend: str = "auto", threads: int = 1) -> None:
    """Write particles.star, particles.mrcs, truth.parquet and true_map.mrc."""
    values = json.loads(settings)
    simulate(
        Simulate.model_validate(values["simulate"]),
        PlantedErrors.model_validate(values["plant"]),
        symmetry=values["symmetry"],
        seed=values["seed"],
        out_dir=out_dir,
        backend=get_backend(backend, threads=threads),
    )


if __name__ == "__main__":
    run(main)
