"""Curves, pictures and histograms of an iteration, as TensorBoard's own reader finds them."""

from __future__ import annotations

import io
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cryocore.training.board import Board
from tests.boards import recorded

pytest.importorskip("torch")


@dataclass(frozen=True)
class Epoch:
    epoch: int
    loss: float


def test_pictures_are_of_few_epochs_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(monkeypatch)
    board = Board(tmp_path, active=True)
    assert [e for e in range(999) if board.shows(e, last=e == 998)] == [0, *(2**i for i in range(10)), 998]


def test_nothing_is_written_where_nothing_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = recorded(monkeypatch)
    board = Board(tmp_path, active=False)
    assert not board.shows(0, last=True)
    board.add(Epoch(0, 1.0))
    board.add_pictures(0, {"a": np.zeros((2, 2))}, {"b": np.zeros(3)})
    board.close()
    assert not written.entries


def test_without_the_package_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with caplog.at_level(logging.INFO):
        board = Board(tmp_path, active=True)
    assert "install the package tensorboard" in caplog.text
    board.add(Epoch(0, 1.0))
    assert not board.shows(0, last=True) and not list(tmp_path.iterdir())


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = Board(tmp_path, active=True)
    grey = np.linspace(0.0, 1.0, 12, dtype=np.float32).reshape(3, 4)
    board.add(Epoch(5, 0.25))
    board.add_pictures(5, {"grey": grey, "figure": Figure(figsize=(2, 1), dpi=100)}, {"ones": np.ones(7)})
    board.close()
    found = reader.EventAccumulator(str(tmp_path))
    found.Reload()
    (loss,) = found.Scalars("loss")
    assert (loss.step, loss.value) == (5, 0.25)
    (image,), (figure,), (ones,) = found.Images("grey"), found.Images("figure"), found.Histograms("ones")
    pixels = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)).convert("L"))
    np.testing.assert_allclose(pixels, 255 * grey, atol=1.5)
    assert (figure.width, figure.height) == (200, 100)
    assert (ones.histogram_value.num, ones.histogram_value.sum) == (7, 7)
