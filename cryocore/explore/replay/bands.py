"""Scores computed again from the band sums of a log, within a band limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.cores import in_threads
from cryocore.errors import InputError
from cryocore.log.columns import table_columns
from cryocore.log.rounds import LogRound
from cryocore.score import scores
from cryocore.score.scores import BAND_COLUMNS, BandStatistics, Weighting
from cryocore.score.weighting import weighting
from cryocore.tables.io import open_table
from cryocore.types import Floats


@dataclass(frozen=True)
class BandLimit:
    """Resolutions (Å) that a score is limited to, from coarse to fine; None: as far as the log goes."""

    first_angstrom: float | None = None
    last_angstrom: float | None = None

    def __str__(self) -> str:
        first, last = (None if v is None else f"{v:g}" for v in (self.first_angstrom, self.last_angstrom))
        return f"{first} to {last} Å" if first and last else f"beyond {first} Å" if first else f"up to {last} Å"


def _zc(s: BandStatistics, weighting: Weighting) -> Floats:
    return scores.z(*scores.centre(s, weighting.mean), weighting)


def _ldac(s: BandStatistics, weighting: Weighting) -> Floats:
    return _zc(s, replace(weighting, w=weighting.w * (1.0 - weighting.view_correlation)))


_Score = Callable[[BandStatistics, Weighting], Floats]
_WEIGHTED: dict[str, tuple[str, _Score]] = {
    "llr": ("ec", lambda s, w: scores.llr(s.c, s.e, w)),
    "z": ("ec", lambda s, w: scores.z(s.c, s.e, w)),
    "zc": ("ecbfg", _zc),
    "ldac": ("ecbfg", _ldac),
}
"""The sums that a score reads, and the score."""
_PLAIN: dict[str, tuple[str, _Score]] = {
    "l2_loss": ("aec", lambda s, _: scores.l2_loss(s)),
    "cryosieve": ("ec", lambda s, _: scores.cryosieve(s, 0)),
    "ncc": ("aec", lambda s, _: scores.ncc(s)),
}
"""Those that know no noise and no signal."""
RECOMPUTABLE = (*_PLAIN, *_WEIGHTED)
_NOTHING = np.zeros((1, 1))
_NO_WEIGHTING = Weighting(_NOTHING, _NOTHING, _NOTHING, _NOTHING)
_COLUMN_OF = dict(zip("aecbfg", BAND_COLUMNS, strict=True))


def band_range(metadata: Mapping[str, Any], limit: BandLimit) -> slice:
    """The bands that lie wholly within a limit.

    Raises
    ------
    InputError  if there is none.
    """
    edges = np.asarray(metadata["band_edges"])
    side_angstrom = metadata["box"] * metadata["pixel_size_angstrom"]
    first = 0 if limit.first_angstrom is None else np.searchsorted(edges, side_angstrom / limit.first_angstrom)
    last = len(edges) - 1
    if limit.last_angstrom is not None:
        last = np.searchsorted(edges, side_angstrom / limit.last_angstrom + 1, side="right") - 1
    if last <= first:
        resolutions = ", ".join(f"{side_angstrom / e:.3g}" for e in edges[:-1])
        raise InputError(
            f"no band of the log lies within {limit}", fix=f"Widen the limit; bands begin at {resolutions} Å"
        )
    return slice(int(first), int(last))


def recomputed(log_round: LogRound, name: str, limit: BandLimit) -> NDArray[np.float32]:
    """A score ``(n,)`` of the bands within a limit, weighted as in the log.

    Row groups are read by several threads, and only one per thread is in memory.

    Raises
    ------
    InputError  if the score is no function of the band sums, or the log lacks them.
    """
    if name not in RECOMPUTABLE:
        raise InputError(
            f"{name} is no sum over bands, so that it has no band limit",
            fix=f"Choose one of {', '.join(RECOMPUTABLE)}, or leave the limit out",
        )
    letters, score = {**_PLAIN, **_WEIGHTED}[name]
    names = [_COLUMN_OF[letter] for letter in letters]
    if name in _WEIGHTED:
        names += ["optics_group", "half", "noise_factor"]
        names += [n for n in ("noise_power",) if n in log_round.columns]
    missing = next((n for n in names if n not in log_round.columns), None)
    if missing or "band_edges" not in log_round.metadata:
        raise InputError(
            "the log holds no band sums", file=log_round.path, column=missing, fix="Leave the band limit out"
        )
    bands = band_range(log_round.metadata, limit)
    with open_table(log_round.path) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    start = np.concatenate([[0], np.cumsum(sizes)])
    out = np.empty(log_round.n_particles, dtype=np.float32)

    def compute(group: int) -> None:
        with open_table(log_round.path) as file:
            columns = table_columns(file.read_row_group(group, columns=names, use_threads=False))
        given = {letter: columns[_COLUMN_OF[letter]][:, bands].astype(np.float64) for letter in letters}
        sums = BandStatistics(*(given.get(letter, _NOTHING) for letter in "aecbfg"))
        worth = weighting(log_round.metadata, columns, bands) if name in _WEIGHTED else _NO_WEIGHTING
        out[start[group] : start[group + 1]] = score(sums, worth)

    in_threads(compute, range(len(sizes)))
    return out
