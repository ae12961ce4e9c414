"""What all tests share: the data of real experiments, and the GPU, a real or an emulated one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import matplotlib as mpl
import pytest

from cryocore.cores import THREADS

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


@pytest.fixture(autouse=True)
def threads_of_the_test() -> Iterator[None]:
    """What a command line limits threads to goes for its own test."""
    before = os.environ.get(THREADS)
    yield
    if before is None:
        os.environ.pop(THREADS, None)
    else:
        os.environ[THREADS] = before


@pytest.fixture
def undamped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half maps as RELION makes them: divided by their denominators, however small they are."""
    monkeypatch.setattr("cryocore.imaging.solve.DAMPING", 0.0)


def pytest_configure() -> None:
    """Leave tensors in host memory where the GPU is emulated (``tests/emulator``): torch knows nothing of it."""
    if emulated():
        from cryocore.backend.cuda import CudaBackend

        CudaBackend.device = "cpu"  # type: ignore[assignment,method-assign]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked ``gpu`` where no GPU can be used, and those of the emulator where it is not."""
    from cryocore.backend.cuda import gpu_fault

    marked = {name: [item for item in items if item.get_closest_marker(name)] for name in ("gpu", "emulator")}
    faults = {"gpu": marked["gpu"] and gpu_fault(), "emulator": None if emulated() else "make emulator"}
    for name, fault in faults.items():
        for item in marked[name] if fault else []:
            item.add_marker(pytest.mark.skip(reason=str(fault)))


def emulated() -> bool:
    """Whether ``cupy`` is the stand-in of ``tests/emulator``."""
    try:
        import cupy
    except ImportError:
        return False
    return cupy.__version__.endswith("emulated")
