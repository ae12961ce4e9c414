"""Whether the images of a round show the map at all: own poses against random ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cryocore.types import Floats

LEAST = 4.0
"""Standard errors that images must match the map better at their own poses than at random ones; chance reaches it once
in 30,000 sets."""
FEWEST = 100


@dataclass(frozen=True)
class Signal:
    """How much better particles score at their own poses than at random ones.

    ``gain`` : mean of z less the mean z at the random poses of the same image
    ``standard_errors`` : the gain in its standard error; NaN where the log does not tell
    ``n`` : particles that were compared
    """

    gain: float
    standard_errors: float
    n: int

    @property
    def is_missing(self) -> bool:
        """Whether the set is no different from one of pure noise."""
        return self.n >= FEWEST and bool(self.standard_errors < LEAST)

    def as_dict(self) -> dict[str, float | None]:
        """Values for JSON, rounded; None for what is not a number."""
        return {name: round(value, 4) if np.isfinite(value) else None for name, value in asdict(self).items()}

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self | None:
        """What the metadata of a log hold, as :meth:`as_dict` gave it; None where they hold none."""
        found = metadata.get("signal")
        if not found:
            return None
        values: dict[str, Any] = {name: np.nan if value is None else value for name, value in found.items()}
        return cls(**values)


def signal_of(columns: Mapping[str, NDArray[Any]]) -> Signal:
    """Compare z ``(n,)`` with random_pose_z ``(n, k)``.

    The map holds no particle's own contribution, so that without signal an image matches it at its own pose as well as
    at any other, whatever the noise is like: the difference is 0 in the mean, particle by particle.

    >>> z, others = np.array([3.0, 2.0, 4.0]), np.zeros((3, 2))
    >>> signal_of({"z": z, "random_pose_z": others}).gain
    3.0
    """
    z: Floats = np.asarray(columns["z"], dtype=np.float64)
    others = np.asarray(columns.get("random_pose_z", np.zeros((len(z), 0))), dtype=np.float64)
    if others.shape[1] == 0:
        return Signal(np.nan, np.nan, 0)
    gains = z - others.mean(axis=1)
    gains = np.sort(gains[np.isfinite(gains)])  # the same sum in any order of rows
    if len(gains) < 2:
        return Signal(np.nan, np.nan, len(gains))
    error = float(gains.std(ddof=1) / np.sqrt(len(gains)))
    return Signal(float(gains.mean()), float(gains.mean() / max(error, 1e-12)), len(gains))
