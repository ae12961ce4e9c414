"""Damaged files are read or refused: a few of the cases of ``python -m benchmarks.fuzz``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.fuzz.readers import READERS, Reader
from benchmarks.fuzz.run import Tally, examine

CASES = 120


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def tried(reader: Reader, folder: Path, n: int) -> Tally:
    tally = Tally()
    assert list(examine(reader, folder, 0, 0, n, tally)) == list(range(n))
    return tally


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(tmp_path: Path, name: str) -> None:
    for path in READERS[name].seeds(tmp_path):
        READERS[name].read(path)
    tally = tried(READERS[name], tmp_path, CASES)
    assert [(f.place, f.index) for f in tally.findings] == []
    assert 0 < tally.read < CASES == tally.cases


def test_what_is_neither_is_found(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        if b"\xff" in path.read_bytes():
            raise IndexError

    reader = Reader(".mrc", READERS["map"].seeds, read)
    found = tried(reader, tmp_path, CASES).findings
    assert found and all(b"\xff" in f.content and f.place.startswith("IndexError") for f in found)
