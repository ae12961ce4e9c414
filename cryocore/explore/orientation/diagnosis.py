"""What a selection does to the distribution of views and to the evenness of the map, in numbers and as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.explore.orientation.change import ConeChange, area_ratio_sd, cone_change
from cryocore.explore.orientation.removed import Removed, removed
from cryocore.explore.orientation.text import sentences, warnings
from cryocore.explore.replay.views import ViewShift, view_shift
from cryocore.geometry.sampling import NSIDE, Sampling, compensation_factors, sampling_matrix
from cryocore.geometry.sphere import bin_counts, nside_for, views_of
from cryocore.geometry.symmetry import point_group
from cryocore.log.rounds import LogRound, find_rounds, wanted_round
from cryocore.maps.cones import cone_metrics, round_cones
from cryocore.maps.mrc import read_map
from cryocore.select.groups import view_bins
from cryocore.statistics import effective_number
from cryocore.types import Floats, Floats32
from cryocore.validate.stopping import independent_samples, noise_overlap

DRAWS = 200
"""Random subsets of the log, for what chance does."""


@dataclass(frozen=True)
class SamplingChange:
    """Sampling of Fourier space before and after a selection, and what random subsets of the same size would give.

    Wrong poses lie elsewhere than correct ones, often evenly: leaving them out makes views less even, as it should be.
    Random subsets are therefore drawn from the particles as far as they are correct, where anything is known of that.

    ``of_all`` : median factor of random subsets of all particles
    ``by_chance``, ``by_chance_5`` : median and 5 % quantile of those of the correct ones
    ``p_value`` : chance of a factor as low, not below 1 / 201
    ``scored_by`` : how correct ones are told: flags, posterior, or all where nothing is known
    """

    before: Sampling
    after: Sampling
    of_all: float
    by_chance: float
    by_chance_5: float
    p_value: float
    scored_by: str


@dataclass(frozen=True)
class EmptyViews:
    """Share of bins of viewing directions, seen from all equivalent sides, in which no particle is.

    ``by_chance`` : after the loss of as many particles at random
    """

    before: float
    after: float
    by_chance: float


@dataclass(frozen=True)
class ViewMaps:
    """Particles per HEALPix bin ``(12 nside²,)`` in ring order, from all equivalent sides, before and after."""

    nside: int
    before: Floats
    after: Floats


@dataclass(frozen=True)
class Orientation:
    """Views and directional FSC of two rounds; ``cones`` is None where the maps are not at hand."""

    symmetry: str
    rounds: tuple[int, int]
    n_before: int
    n_after: int
    shift: ViewShift
    sampling: SamplingChange
    empty: EmptyViews
    removed_views: tuple[Removed, ...]
    removed_micrographs: tuple[Removed, ...]
    cones: ConeChange | None
    ratio_sd: tuple[float, float] | None
    maps: ViewMaps

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answer as text, and what it rests on."""
        return sentences(self)

    @property
    def text(self) -> str:
        """All sentences, a line each."""
        return "\n".join(self.sentences)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what should be looked at before the selection is believed."""
        return warnings(self)

    def as_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        return {
            "symmetry": self.symmetry,
            "rounds": list(self.rounds),
            "n_before": self.n_before,
            "n_after": self.n_after,
            "views": asdict(self.shift),
            "sampling": asdict(self.sampling),
            "empty_views": asdict(self.empty),
            "removed_views": [r.as_dict() for r in self.removed_views],
            "removed_micrographs": [r.as_dict() for r in self.removed_micrographs],
            "directional_fsc": None if self.cones is None else _cones_dict(self.cones, self.ratio_sd),
            "text": self.text,
            "warnings": list(self.warnings),
        }


def _cones_dict(change: ConeChange, ratio_sd: tuple[float, float] | None) -> dict[str, Any]:
    worst = change.most_lost
    return {
        "before": cone_metrics(change.before),
        "after": cone_metrics(change.after),
        "area_ratio_sd": None if ratio_sd is None else list(ratio_sd),
        "expected_area_ratio": change.expected_ratio,
        "gain": change.gain,
        "p_value": change.p_value,
        "most_lost_direction": change.before.direction[worst].tolist(),
        "most_lost": float(change.loss[worst]),
        "most_lost_sd": float(change.loss_sd[worst]),
    }


def orientation(
    source: Path, first: int | None = None, last: int | None = None, seed: int = 0, *, maps: bool = True
) -> Orientation:
    """Compare the views and maps of two rounds of a run.

    Parameters
    ----------
    source : results/<run>; or a log alone, which has no maps
    first, last : numbers of the rounds; None: the first and the last of the log
    seed : of the random subsets
    maps : whether half maps are read, where they are at hand

    Raises
    ------
    InputError  if a round is missing, or the log has no viewing directions.
    """
    rounds = find_rounds(source)
    numbers = (rounds[0].number if first is None else first, rounds[-1].number if last is None else last)
    before, after = (wanted_round(rounds, str(number)) for number in numbers)
    group = point_group(before.symmetry)
    was, kept = _weights(before), _weights(after)
    if len(was) != len(kept):
        raise InputError("the rounds hold different particles", file=after.path, fix="Give rounds of one run")
    in_map = was > 0
    views = _directions(before)[in_map]
    flags = before.flags()[in_map]
    old, new = was[in_map], kept[in_map]
    correct, scored_by = _correct(after, in_map, flags)
    # particles that are known to be incorrect may go; nothing is said about views and micrographs that hold only those
    rated = flags != 0
    coarse = view_bins(views, group)
    names = [_direction_name(c) for c in coarse.centre]
    cones, ratio_sd = _cones(before, after, group, noise_overlap(was, kept)) if maps else (None, None)
    labels = before.labels("micrograph")
    return Orientation(
        symmetry=before.symmetry,
        rounds=(before.number, after.number),
        n_before=_n_selected(before),
        n_after=_n_selected(after),
        shift=view_shift(coarse, new, correct, seed),
        sampling=sampling_change(views, group, old, new, correct, scored_by, seed),
        empty=empty_views(views, group, new),
        removed_views=removed(coarse.bin_index[rated], names, new[rated]),
        removed_micrographs=() if labels is None else removed(labels[0][in_map][rated], labels[1], new[rated]),
        cones=cones,
        ratio_sd=ratio_sd,
        maps=_view_maps(views, group, old, new),
    )


def sampling_change(
    directions: Floats,
    group: Floats,
    old: Floats32,
    new: Floats32,
    correct: Floats32 | None = None,
    scored_by: str = "all",
    seed: int = 0,
) -> SamplingChange:
    """Sampling by the views ``(n, 3)`` with weights ``(n,)`` before and after.

    Random subsets have the effective number of particles of the selection.

    Parameters
    ----------
    correct : (n,) flags or probabilities of being correct; None where nothing is known
    """
    bins = views_of(directions, group, NSIDE)
    matrix = sampling_matrix(bins.centre, group)
    n_bins = len(bins.centre)
    rows = np.stack([np.bincount(bins.bin_index, weights=w, minlength=n_bins) for w in (old, new)]).astype(np.float64)
    factor, unsampled = compensation_factors(rows, matrix)
    effective = max(round(effective_number(new)), 1)
    rng = np.random.default_rng(seed)

    def chance(members: NDArray[np.bool_]) -> Floats:
        count = np.bincount(bins.bin_index[members], minlength=n_bins)
        size = min(effective, int(count.sum()))
        drawn = rng.multivariate_hypergeometric(count, size, size=DRAWS, method="marginals")
        return compensation_factors(drawn.astype(np.float64), matrix)[0]

    of_all = chance(np.ones(len(new), dtype=bool))
    null = of_all if correct is None else chance(rng.random(len(correct)) < correct)
    return SamplingChange(
        before=Sampling(float(factor[0]), float(unsampled[0])),
        after=Sampling(float(factor[1]), float(unsampled[1])),
        of_all=float(np.median(of_all)),
        by_chance=float(np.median(null)),
        by_chance_5=float(np.quantile(null, 0.05)),
        p_value=float((1 + np.count_nonzero(null <= factor[1] + 1e-9)) / (1 + DRAWS)),
        scored_by=scored_by,
    )


def empty_views(directions: Floats, group: Floats, weights: Floats32) -> EmptyViews:
    """Share of empty bins, in bins of about thirty kept particles or more; weights ``(n,)`` after the selection."""
    kept = weights > 0
    share = np.count_nonzero(kept) / len(kept)
    nside = nside_for(int(np.count_nonzero(kept)) * len(group))
    before, after = (bin_counts(v, nside, group) for v in (directions, directions[kept]))
    return EmptyViews(float(np.mean(before == 0)), float(np.mean(after == 0)), float(np.mean((1.0 - share) ** before)))


def _view_maps(directions: Floats, group: Floats, old: Floats32, new: Floats32) -> ViewMaps:
    nside = nside_for(int(np.count_nonzero(new)) * len(group))
    before, after = (bin_counts(directions[w > 0], nside, group) for w in (old, new))
    return ViewMaps(nside, before, after)


def _n_selected(log: LogRound) -> int:
    selected = log.column("selected")
    return int(np.count_nonzero(_weights(log) if selected is None else selected))


def _weights(log: LogRound) -> Floats32:
    weights = log.column("weight")  # None too where the log knows none: nothing was selected then
    if weights is None:
        return np.ones(log.n_particles, dtype=np.float32)
    if not np.any(weights > 0):
        raise InputError("no particle is kept", file=log.path, fix="Give another round")
    return np.asarray(weights, dtype=np.float32)


def _directions(log: LogRound) -> Floats:
    columns = [log.column(f"view_{c}") for c in "xyz"]
    if any(c is None for c in columns):
        raise InputError("the log has no viewing directions", file=log.path, fix="Give the log of a run")
    return np.stack(columns, axis=1).astype(np.float64)  # type: ignore[arg-type]


def _direction_name(direction: Floats) -> str:
    """Polar angle and azimuth.

    >>> _direction_name(np.array([0.0, 1.0, 0.0]))
    'tilt 90°, rot 90°'
    """
    x, y, z = direction
    return f"tilt {np.degrees(np.arccos(np.clip(z, -1, 1))):.0f}°, rot {np.degrees(np.arctan2(y, x)):.0f}°"


def _correct(log: LogRound, in_map: NDArray[np.bool_], flags: NDArray[np.int8]) -> tuple[Floats32 | None, str]:
    """Probability of being correct of the particles in the map, and where it is from."""
    if np.any(flags == 1):
        return (flags == 1).astype(np.float32), "flags"
    posterior = log.posterior()
    if posterior is None or not np.any(posterior[in_map] > 0.5):
        return None, "all"
    return posterior[in_map], "posterior"


def _cones(
    before: LogRound, after: LogRound, group: Floats, overlap: float
) -> tuple[ConeChange | None, tuple[float, float] | None]:
    if before.run_dir is None or not (before.run_dir / f"round_{before.number}" / "half1.mrc").exists():
        return None, None
    folders = [before.run_dir / f"round_{log.number}" for log in (before, after)]
    one, two = map(round_cones, folders)
    samples = independent_samples(read_map(folders[0] / "mask.mrc")[0], len(group))
    change = cone_change(one, two, samples, overlap, len(group))
    return change, (area_ratio_sd(one, samples), area_ratio_sd(two, samples))
