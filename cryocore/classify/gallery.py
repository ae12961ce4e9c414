"""Pictures of the particles that a classifier is most sure of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.ndimage
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryocore.classify.examples import Examples
from cryocore.validate.figures import RIGHT, WRONG, style

SHOWN = 6
SMOOTHING = 1.5
"""Standard deviation, in pixels of a picture of 64, of the blur that makes noisy images readable."""


@dataclass
class Gallery:
    """The ``SHOWN`` particles with the lowest and the highest probabilities among those that were added.

    Among equals those of the lowest ids, so that the order does not matter.
    """

    wrong: list[Picture] = field(default_factory=list)
    right: list[Picture] = field(default_factory=list)

    def add(self, examples: Examples, probability: NDArray[np.float64]) -> None:
        """Consider some particles."""
        order = np.lexsort((examples.ids, probability))
        for rows, sign, kept in ((order[:SHOWN], 1, self.wrong), (order[::-1][:SHOWN], -1, self.right)):
            pairs = examples.pictures.pairs[rows].astype(np.float32)
            kept += [
                Picture(int(examples.ids[r]), float(probability[r]), image, prediction)
                for r, (image, prediction) in zip(rows, pairs, strict=True)
            ]
            kept.sort(key=lambda p, s=sign: (s * p.probability, p.particle_id))  # type: ignore[misc]
            del kept[SHOWN:]

    def figure(self) -> Figure:
        """Image above prediction: the particles most surely wrong, then those most surely right."""
        shown = [*self.wrong, *self.right]
        with style():
            figure = Figure(figsize=(1.15 * len(shown) + 0.5, 3.1), layout="constrained")
            ratios = [len(self.wrong) + 0.3, len(self.right)]
            parts = figure.subfigures(1, 2, squeeze=False, width_ratios=ratios)[0]
            groups = (self.wrong, WRONG, "most surely wrong"), (self.right, RIGHT, "most surely right")
            for part, (kept, colour, title) in zip(parts, groups, strict=True):
                axes = part.subplots(2, len(kept), squeeze=False)
                part.suptitle(title, color=colour, fontsize=10.5, weight="bold")
                for i, picture in enumerate(kept):
                    for axis, values in zip(axes[:, i], (picture.image, picture.prediction), strict=True):
                        smooth = scipy.ndimage.gaussian_filter(values, SMOOTHING * len(values) / 64)
                        low, high = np.percentile(smooth, [1, 99])
                        axis.imshow(smooth, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
                        axis.set(xticks=[], yticks=[])
                    axes[0, i].set_title(f"p = {picture.probability:.2g}", fontsize=8.5, weight="normal", pad=3)
            for axis, name in zip(parts[0].axes[:: len(self.wrong)], ("image", "prediction"), strict=True):
                axis.set_ylabel(name, fontsize=9)
        return figure

    def as_dict(self) -> dict[str, Any]:
        """Ids and probabilities."""
        return {
            name: [{"particle_id": p.particle_id, "probability": round(p.probability, 6)} for p in kept]
            for name, kept in (("wrong", self.wrong), ("right", self.right))
        }


@dataclass(frozen=True)
class Picture:
    """Image and prediction of a particle, ``(s, s)``."""

    particle_id: int
    probability: float
    image: NDArray[np.float32]
    prediction: NDArray[np.float32]
