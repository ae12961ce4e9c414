"""What all tests share: the data of real experiments, and the GPU where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import matplotlib as mpl
import pytest

mpl.use("Agg")
hypothesis.settings.register_profile("the same values in every run", derandomize=True, database=None)
hypothesis.settings.load_profile("the same values in every run")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Directory of the shared test data: ``../shared/data`` beside the checkout, or ``$CRYOCORE_TEST_DATA``."""
    path = Path(os.environ.get("CRYOCORE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (path / "MANIFEST.csv").is_file():
        pytest.skip(f"no shared test data in {path}")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked ``gpu`` where no GPU can be used."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    from cryocore.backend.cuda import gpu_fault

    fault = gpu_fault()
    for item in marked if fault else []:
        item.add_marker(pytest.mark.skip(reason=f"no usable GPU ({fault})"))
