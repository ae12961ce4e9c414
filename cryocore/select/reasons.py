"""Why a particle is not selected, or is although its scores speak against it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.log import names
from cryocore.types import Bools

ORIENTATION, POSITION, NO_PARTICLE, DEFOCUS, SPOILT, QUALITY, VIEW_GUARD, UNKNOWN = REASONS = (
    "orientation",
    "position",
    "no_particle",
    "defocus",
    "spoilt",
    "quality",
    "view_guard",
    "unknown",
)
BY_KIND = {
    "misoriented": ORIENTATION,
    "slightly_misoriented": ORIENTATION,
    "miscentred": POSITION,
    "junk": NO_PARTICLE,
    names.WRONG_DEFOCUS: DEFOCUS,
    names.SPOILT: SPOILT,
    "correct": QUALITY,
}
"""Reason of a particle that is not selected, by what it most probably is."""


def reasons(kinds: NDArray[np.object_], selected: Bools, guarded: Bools) -> pa.DictionaryArray:
    """The reason of each particle ``(n,)``; null for one that is selected on its own merit.

    Parameters
    ----------
    kinds : (n,)  what each most probably is; "unknown" or None where nothing is known
    selected : (n,)
    guarded : (n,)  those of them that are selected only for their views

    >>> reasons(np.array(["junk", "correct", "correct", "misoriented"], dtype=object),
    ...         np.array([False, False, True, True]), np.array([False, False, False, True])).to_pylist()
    ['no_particle', 'quality', None, 'view_guard']
    """
    of_kind = {kind: REASONS.index(BY_KIND.get(kind, UNKNOWN)) for kind in set(kinds.tolist())}
    codes = np.fromiter((of_kind[kind] for kind in kinds.tolist()), dtype=np.int8, count=len(kinds))
    codes[guarded] = REASONS.index(VIEW_GUARD)
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=selected & ~guarded), list(REASONS))
