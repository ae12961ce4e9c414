"""A guard of rare views: a list of particles that leaves no direction of Fourier space to chance.

A list takes every particle that is more likely correct than not. Where views are uneven, incorrect poses fall into the
rare ones, so that a correct particle of a rare view is more likely incorrect than not; a list without them leaves the
directions that only they sample empty, and a map of it is worse than one of all particles.

One more particle raises what n particles say of a direction, (sum p)² / n with probabilities p of being correct, if its
p is above half the mean of theirs. So in directions that have little, a particle is listed if it is a third as likely
correct as those beside it, or more.
"""

from __future__ import annotations

import numpy as np

from cryocore.geometry.coverage import Coverage
from cryocore.types import Bools, Floats

POOR = 0.25
"""A direction is poor that has less than this share of what directions have in the mean."""
SHARE = 1.0 / 3.0
"""Of the mean probability of the particles beside it, above which a particle of a rare view is listed."""
STEPS = 30


def guarded(likely: Floats, listed: Bools, candidates: Bools, views: Floats, group: Floats) -> Bools:
    """A list ``(n,)`` with the likeliest of ``candidates`` ``(n,)`` in views that sample poor directions.

    ``views`` ``(n, 3)`` are viewing directions, ``group`` ``(m, 3, 3)`` is the point group. Where no direction is poor,
    the list stays as it is.

    >>> rng = np.random.default_rng(0)
    >>> views = np.concatenate([np.tile([0.0, 0.0, 1.0], (990, 1)), rng.normal(size=(10, 3))])
    >>> views /= np.linalg.norm(views, axis=1, keepdims=True)
    >>> likely = np.r_[np.full(990, 0.9), np.full(10, 0.3)]
    >>> kept = guarded(likely, likely > 0.5, likely > 0.05, views, np.eye(3)[None])
    >>> int(kept[:990].sum()), int(kept[990:].sum())
    (990, 10)
    """
    coverage = Coverage.of(likely, views, group)
    available = coverage.available
    need = np.maximum(0.0, 1.0 - available / max(POOR * float(available.mean()), 1e-300))
    if not need.any():
        return listed
    kept = candidates
    for _ in range(STEPS):
        mean = coverage.of_list(kept)[1]
        beside = np.einsum("bd,d->b", coverage.matrix, need * mean)
        least = np.full(len(beside), np.inf)
        np.divide(SHARE * np.einsum("bd,d->b", coverage.matrix, need * mean**2), beside, out=least, where=beside > 0)
        better = listed | (candidates & (coverage.likely > least[coverage.bin_index]))
        if np.array_equal(better, kept):
            break
        kept = better
    return kept
