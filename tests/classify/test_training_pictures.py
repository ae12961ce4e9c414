"""What a training shows: the images that the loss is most of, and the channels that say something."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from cryocore.classify.training_pictures import SHOWN, histograms, input_figure, surprise_figure

SIDE = 16


def flat(n: int, channels: tuple[float, ...] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """Images without detail, each as bright as its row is far down."""
    bright = np.arange(1.0, n + 1)[:, None, None, None] * np.array(channels)[:, None, None]
    return np.broadcast_to(bright, (n, 3, SIDE, SIDE)).astype(np.float32)


def shown(figure: Figure) -> list[list[int]]:
    """The rows of the images in each strip."""
    strips = [np.asarray(axes.images[0].get_array())[0] for axes in figure.axes]
    return [[int(v) - 1 for v in strip[:: SIDE + 1] if np.isfinite(v)] for strip in strips]


def captions(figure: Figure) -> list[list[str]]:
    return [[text.get_text() for text in axes.get_xticklabels()] for axes in figure.axes]


def test_the_images_that_the_loss_is_most_of_are_shown() -> None:
    n = 60
    correct, rows = np.arange(n) % 2 == 0, np.arange(20, 60)
    odds = np.random.default_rng(0).normal(size=40)
    weights = np.ones(40)
    weights[np.flatnonzero(correct[rows])[odds[correct[rows]].argmin()]] = 0.0  # certainly wrong, and counts nothing
    found = surprise_figure(flat(n), correct, rows, odds, weights)
    for strip, texts, flag in zip(shown(found), captions(found), (True, False), strict=True):
        members = [i for i in range(40) if correct[rows[i]] == flag and weights[i] > 0]
        worst = sorted(members, key=lambda i: odds[i] if flag else -odds[i])[:SHOWN]
        assert strip == rows[worst].tolist()
        assert texts == [f"p = {1 / (1 + np.exp(-odds[i])):.3f}" for i in worst]
    few = surprise_figure(flat(4), correct[:4], np.arange(4), odds[:4], weights[:4])
    assert [len(strip) for strip in shown(few)] == [2, 2]


@pytest.mark.parametrize(
    ("channels", "names"),
    [((1.0, 2.0, 3.0), ["residual", "prediction", "image"]), ((1.0, 0.0, 1.0), ["residual"])],
)
def test_the_input_is_shown_without_channels_that_say_nothing(channels: tuple[float, ...], names: list[str]) -> None:
    correct, rows = np.arange(40) >= 20, np.arange(5, 40)
    figure = input_figure(flat(40, channels), correct, rows)
    assert [axes.get_ylabel() for axes in figure.axes] == names
    assert shown(figure)[0] == [20, 21, 22, 23, 5, 6, 7, 8]
    assert captions(figure)[0] == ["correct"] * 4 + ["incorrect"] * 4


def test_a_picture_is_as_large_for_large_images_as_for_small_ones() -> None:
    small, large = (
        input_figure(np.ones((20, 3, s, s), np.float32), np.arange(20) < 9, np.arange(20)) for s in (16, 160)
    )
    assert small.get_size_inches().tolist() == large.get_size_inches().tolist()


def test_histograms_are_of_weights_and_of_answers_by_class() -> None:
    torch = pytest.importorskip("torch")
    net = SimpleNamespace(named_parameters=lambda: [("a.weight", torch.ones(2)), ("a.bias", torch.ones(1))])
    found = histograms(net, np.array([True, False, False]), np.array([0.0, 50.0, -50.0]))
    assert found.keys() == {"weights/a.weight", "probability/correct", "probability/incorrect"}
    np.testing.assert_allclose(found["probability/correct"], [0.5])
    np.testing.assert_allclose(found["probability/incorrect"], [1.0, 0.0], atol=1e-9)
