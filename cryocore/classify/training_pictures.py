"""What TensorBoard shows of a network's training: what it sees, which images surprise it, its weights, its answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.ndimage
from matplotlib.figure import Figure
from scipy.special import expit

from cryocore.classify.example_images import SMOOTHING
from cryocore.figures.look import CORRECT, INCORRECT
from cryocore.figures.tiles import Row, tiles
from cryocore.types import Bools, Floats, Floats32, Rows

SHOWN = 8
"""Images in a row."""
CHANNELS = ("residual", "prediction", "image")


def input_figure(images: Any, correct: Bools, rows: Rows) -> Figure:
    """The first images of ``rows`` as the network takes them ``(n, 3, s, s)``, correct ones on the left; a channel that
    is blank, or the same as the residual, is left out."""
    half = [rows[correct[rows] == flag][: SHOWN // 2] for flag in (True, False)]
    chosen = np.concatenate(half)
    seen = images[chosen]
    names = ["correct"] * len(half[0]) + ["incorrect"] * len(half[1])
    shown = [i for i in range(3) if i == 0 or (seen[:, i].any() and not np.array_equal(seen[:, i], seen[:, 0]))]
    return tiles([Row(CHANNELS[i], seen[:, i], names if i == 0 else ()) for i in shown])


def surprise_figure(images: Any, correct: Bools, rows: Rows, log_odds: Floats, weights: Floats) -> Figure:
    """The residuals, blurred, that the loss is most of, with their probabilities of being correct: correct ones above,
    incorrect ones below.

    ``log_odds``, ``weights`` : (m,) of the images of ``rows``
    """
    loss = weights * np.logaddexp(0.0, np.where(correct[rows], -log_odds, log_odds))
    shown = []
    for flag, name, colour in ((True, "correct", CORRECT), (False, "incorrect", INCORRECT)):
        members = np.flatnonzero(correct[rows] == flag)
        worst = members[np.argsort(-loss[members], kind="stable")][:SHOWN]
        captions = [f"p = {value:.3f}" for value in expit(log_odds[worst])]
        shown.append(Row(name, blurred(images[rows[worst]][:, 0]), captions, colour))
    return tiles(shown)


def blurred(pictures: Floats32) -> Floats32:
    """Pictures ``(m, s, s)`` in whose noise the eye finds something."""
    width = SMOOTHING * pictures.shape[-1] / 64
    return np.asarray(scipy.ndimage.gaussian_filter(pictures, (0, width, width)))


def histograms(net: Any, correct: Bools, log_odds: Floats) -> dict[str, Any]:
    """Weights by layer, and probabilities of correct and of incorrect images, ``(m,)`` each."""
    layers = {f"weights/{name}": v.detach().cpu() for name, v in net.named_parameters() if name.endswith("weight")}
    likely = expit(log_odds)
    return {**layers, "probability/correct": likely[correct], "probability/incorrect": likely[~correct]}
