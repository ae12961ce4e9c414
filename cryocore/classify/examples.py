"""What classifiers learn from and score: features and pictures of particles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.classify.features import COLUMNS, Context, image_features, log_features
from cryocore.log.columns import table_columns
from cryocore.score.images import image_pairs
from cryocore.score.scorer import Scorer
from cryocore.tables.particles import Particles
from cryocore.types import Floats32

Rows = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Pictures:
    """Image and prediction of n particles in half precision, ``(n, 2, s, s)``; rows give what networks see."""

    pairs: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """That of all rows: ``(n, 3, s, s)``."""
        n, _, *sides = self.pairs.shape
        return n, 3, sides[0], sides[1]

    def __getitem__(self, rows: Any) -> Floats32:
        """Residual, prediction and image, ``(m, 3, s, s)``."""
        image, prediction = np.moveaxis(self.pairs[rows].astype(np.float32), -3, 0)
        return np.stack([image - prediction, prediction, image], axis=-3)


@dataclass(frozen=True)
class Examples:
    """n particles as classifiers see them.

    ``ids``, ``half``, ``micrograph`` (names) : ``(n,)``
    ``features`` : ``(n, f)`` float32, named by ``names``
    ``pictures`` : whitened, centred
    """

    ids: NDArray[np.uint64]
    half: NDArray[np.int8]
    micrograph: NDArray[np.str_]
    names: tuple[str, ...]
    features: Floats32
    pictures: Pictures

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Rows) -> Examples:
        """Some of them."""
        return replace(
            self,
            ids=self.ids[rows],
            half=self.half[rows],
            micrograph=self.micrograph[rows],
            features=self.features[rows],
            pictures=Pictures(self.pictures.pairs[rows]),
        )

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        """All of them, one after the other."""
        first = parts[0]
        arrays: dict[str, Any] = {
            n: np.concatenate([getattr(p, n) for p in parts]) for n in ("ids", "half", "micrograph", "features")
        }
        return replace(first, **arrays, pictures=Pictures(np.concatenate([p.pictures.pairs for p in parts])))


def examples_of(
    scorer: Scorer,
    data: Particles,
    rows: Rows,
    weights: Floats32,
    table: pa.Table,
    context: Context,
    image_size: int,
    progress: str | None = None,
) -> Examples:
    """Features and pictures of some rows of a data set.

    Parameters
    ----------
    weights : (n,) of the whole data set in the half maps that the scorer compares with
    table : the log's rows of these particles, in the order of ``rows``
    image_size : side of the pictures in pixels; the box where that is smaller
    """
    columns = columns_of(table)
    part = data.take(rows)
    side = min([image_size, *(o.box for o in data.optics)])
    sigma2 = scorer.noise.groups
    pairs = np.empty((len(rows), 2, side, side), dtype=np.float16)
    moments: dict[str, Floats32] = {}
    every = np.arange(len(rows))
    for at, found in image_pairs(
        part, every, weights[rows], scorer.comparison, size=side, sigma2=sigma2, progress=progress
    ):
        pairs[at] = np.clip(np.stack([found.image, found.prediction], axis=1), -60000, 60000)
        for name, values in image_features(found).items():
            moments.setdefault(name, np.empty(len(rows), dtype=np.float32))[at] = values
    features = {**log_features(columns, context), **moments}
    return Examples(
        ids=part.ids,
        half=part.column("half"),
        micrograph=part.column("micrograph").astype(np.str_),
        names=tuple(features),
        features=np.stack(list(features.values()), axis=1),
        pictures=Pictures(pairs),
    )


def columns_of(table: pa.Table) -> Mapping[str, NDArray[Any]]:
    """The columns that features are made of, as arrays."""
    names = [*COLUMNS, *(n for n in ("noise_power",) if n in table.column_names)]
    return table_columns(table.select(names))
