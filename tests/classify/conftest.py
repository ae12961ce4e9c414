"""A small data set with planted errors, scored once."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryocore.backend import get_backend
from cryocore.classify.rounds import ScoredRound
from cryocore.config.plant import PlantedErrors
from tests.score.simulated import logged, simulated


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a run's first round."""
    folder = tmp_path_factory.mktemp("classify")
    simulated(folder, PlantedErrors(wrong_pose=0.2, junk=0.1), box=32, n_particles=600, snr=0.3, n_micrographs=20)
    logged(folder)
    return folder


@pytest.fixture(scope="session")
def scored(folder: Path) -> ScoredRound:
    """That round, opened."""
    given = folder / "particles.parquet", folder / "scores.parquet", folder / "round", None
    return ScoredRound.read(*given, symmetry="C1", seed=0, backend=get_backend("cpu"))
