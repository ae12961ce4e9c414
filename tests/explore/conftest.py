"""A run of one selection, for all that asks questions of finished runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryocore.config.plant import PlantedErrors
from cryocore.config.select import Select
from tests.explore.runs import run_of

BY_SCORE = Select(rule="fraction", value=[0.7], score="zc")


@pytest.fixture
def few_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the interval of the error rate, where nothing reads it."""
    monkeypatch.setattr("cryocore.log.error_rate.BOOTSTRAP", 2)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 images, 30 % wrong poses, and the best 70 % by zc."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cryocore.log.error_rate.BOOTSTRAP", 2)
        return run_of(tmp_path_factory.mktemp("run"), PlantedErrors(wrong_pose=0.3), BY_SCORE)
