"""Pictures of the particles that a classifier is most sure of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.ndimage
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryocore.classify.examples import Examples
from cryocore.figures.look import CORRECT, INCORRECT, style
from cryocore.tables.io import atomic_path, open_arrays

SHOWN = 6
SMOOTHING = 2.0
"""Standard deviation, in pixels of a picture of 64, of the blur that makes noisy images readable."""


@dataclass
class ExampleImages:
    """The ``SHOWN`` particles with the lowest and the highest probabilities among those that were added.

    Among equals those of the lowest ids, so that the order does not matter.
    """

    incorrect: list[Picture] = field(default_factory=list)
    correct: list[Picture] = field(default_factory=list)

    def add(self, examples: Examples, probability: NDArray[np.float64]) -> None:
        """Consider some particles."""
        order = np.lexsort((examples.ids, probability))
        for rows, sign, kept in ((order[:SHOWN], 1, self.incorrect), (order[::-1][:SHOWN], -1, self.correct)):
            pairs = examples.pictures.pairs[rows].astype(np.float32)
            kept += [
                Picture(int(examples.ids[r]), float(probability[r]), image, prediction)
                for r, (image, prediction) in zip(rows, pairs, strict=True)
            ]
            kept.sort(key=lambda p, s=sign: (s * p.probability, p.particle_id))  # type: ignore[misc]
            del kept[SHOWN:]

    def figure(self) -> Figure:
        """Image above prediction: the particles most surely incorrect, then those most surely correct."""
        shown = [*self.incorrect, *self.correct]
        with style():
            figure = Figure(figsize=(1.15 * len(shown) + 0.5, 3.1), layout="constrained")
            ratios = [len(self.incorrect) + 0.3, len(self.correct)]
            parts = figure.subfigures(1, 2, squeeze=False, width_ratios=ratios)[0]
            groups = (
                (self.incorrect, INCORRECT, "most surely incorrect"),
                (self.correct, CORRECT, "most surely correct"),
            )
            for part, (kept, colour, title) in zip(parts, groups, strict=True):
                axes = part.subplots(2, len(kept), squeeze=False)
                part.suptitle(title, color=colour, fontsize=10.5, weight="bold")
                for i, picture in enumerate(kept):
                    for axis, values in zip(axes[:, i], (picture.image, picture.prediction), strict=True):
                        smooth = scipy.ndimage.gaussian_filter(values, SMOOTHING * len(values) / 64)
                        low, high = np.percentile(smooth, [1, 99])
                        axis.imshow(smooth, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
                        axis.set(xticks=[], yticks=[])
                    axes[0, i].set_title(_label(picture.probability), fontsize=8.5, weight="normal", pad=3)
            for axis, name in zip(parts[0].axes[:: len(self.incorrect)], ("image", "prediction"), strict=True):
                axis.set_ylabel(name, fontsize=9)
        return figure

    def write(self, path: Path) -> None:
        """Write ids, probabilities and pictures as ``.npz``; :meth:`read` is its inverse."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, kept in (("incorrect", self.incorrect), ("correct", self.correct)):
            arrays[f"{name}_id"] = np.array([p.particle_id for p in kept], dtype=np.uint64)
            arrays[f"{name}_probability"] = np.array([p.probability for p in kept])
            arrays[f"{name}_image"] = np.stack([p.image for p in kept])
            arrays[f"{name}_prediction"] = np.stack([p.prediction for p in kept])
        with atomic_path(path) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what :meth:`write` wrote."""
        with open_arrays(path, "pictures of a classifier") as file:
            kept = [
                [Picture(int(i), float(p), image, prediction) for i, p, image, prediction in zip(*columns, strict=True)]
                for columns in (
                    [file[f"{name}_{part}"] for part in ("id", "probability", "image", "prediction")]
                    for name in ("incorrect", "correct")
                )
            ]
        return cls(*kept)


@dataclass(frozen=True)
class Picture:
    """Image and prediction of a particle, ``(s, s)``."""

    particle_id: int
    probability: float
    image: NDArray[np.float32]
    prediction: NDArray[np.float32]


def _label(probability: float) -> str:
    return "p < 0.001" if probability < 0.001 else "p > 0.999" if probability > 0.999 else f"p = {probability:.3f}"
