"""What all selections of a round share: its particles, and what the log knows of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.explore.replay.groups import group_codes
from cryocore.geometry.sphere import Views
from cryocore.geometry.symmetry import point_group
from cryocore.log.quality import Quality, quality
from cryocore.log.rounds import LogRound, aligned
from cryocore.select.groups import view_bins
from cryocore.types import Floats32


@dataclass(frozen=True)
class Known:
    """What all selections of a round share: the particles ``(n,)`` and what is known of them.

    ``quality`` estimates envelopes by a seed, each once.
    """

    ids: NDArray[np.uint64]
    half: NDArray[np.int8]
    weights: Floats32 | None
    kept_next: NDArray[np.bool_] | None
    flags: NDArray[np.int8]
    likely: Floats32 | None
    correct_from: str
    views: Views | None
    groups: dict[str, tuple[NDArray[np.integer[Any]], list[str]]]
    quality: Callable[[int], Quality | None]


class SameViews:
    """The views of rounds whose poses are the same, sorted into bins once."""

    def __init__(self) -> None:
        self._lock, self._seen = Lock(), dict[str, tuple[NDArray[np.float64], Views]]()

    def of(self, log_round: LogRound) -> Views | None:
        """Views of a round; None where the log knows no poses."""
        found = [log_round.column(f"view_{c}") for c in "xyz"]
        columns = [c for c in found if c is not None]
        if len(columns) < len(found):
            return None
        directions = np.stack(columns, axis=1, dtype=np.float64)
        with self._lock:
            last = self._seen.get(log_round.symmetry)
            if last is None or not np.array_equal(last[0], directions):
                bins = view_bins(directions, point_group(log_round.symmetry))
                last = self._seen[log_round.symmetry] = directions, bins
        return last[1]


def read_known(log_round: LogRound, after: LogRound | None, views: SameViews) -> Known:
    """What is known of a round; ``after`` is the one that its scores chose for, where there is one."""
    columns = log_round.read(["particle_id", "half"])
    flags, likely = log_round.flags(), log_round.posterior()
    correct_from = "all" if likely is None else "posterior"
    if (flags >= 0).all():
        likely, correct_from = flags.astype(np.float32), "flags"
    kept_next = None
    if after is not None and (selected := after.column("selected")) is not None:
        ids = after.read(["particle_id"])["particle_id"]
        kept_next = aligned(selected, ids, columns["particle_id"]).astype(bool)
    found = {kind: group_codes(log_round, kind) for kind in ("micrograph", "optics_group")}
    return Known(
        ids=columns["particle_id"],
        half=columns["half"],
        weights=log_round.column("weight"),
        kept_next=kept_next,
        flags=flags,
        likely=likely,
        correct_from=correct_from,
        views=views.of(log_round),
        groups={kind: groups for kind, groups in found.items() if groups is not None},
        quality=cache(lambda seed: quality(log_round, seed=seed)),
    )
