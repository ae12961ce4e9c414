"""The evidence of one round: metrics.json."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.geometry.coverage import uncovered
from cryocore.geometry.sampling import sampling_of
from cryocore.geometry.symmetry import point_group
from cryocore.log.columns import score_columns
from cryocore.log.names import MIXTURE, REASON, lower_is_better
from cryocore.log.rates import auc, rates_by_kind, rounded, selection_rates, share
from cryocore.log.rounds import LogRound, open_round
from cryocore.log.truth import Truth, read_truth
from cryocore.maps.cones import cone_metrics, round_cones
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import fsc, resolution_at, shell_resolution
from cryocore.maps.mrc import read_map, require_contrast
from cryocore.statistics import effective_number
from cryocore.tables.io import write_json
from cryocore.tables.particles import IMAGE, UNCHANGED_SINCE
from cryocore.types import Bools, Floats32
from cryocore.validate.epochs import epoch_metrics

Columns = Mapping[str, NDArray[Any]]

NEEDED = ("particle_id", "half", "selected", "weight")
VIEW = ("view_x", "view_y", "view_z")

log = logging.getLogger(__name__)


def validate_round(
    scores: Path,
    round_dir: Path,
    truth: Path | None,
    true_map: Path | None,
    *,
    score_name: str,
    out_metrics: Path,
    probability: Path | None = None,
    batches: Path | None = None,
) -> None:
    """Write the metrics of one round.

    Parameters
    ----------
    scores : log.parquet of the round, one row per particle of the data set
    round_dir : holds half1.mrc, half2.mrc, map.mrc, mask.mrc and fsc.parquet
    truth : truth.parquet of the run; None: nothing is known
    true_map : MRC map of the truth; None: none
    probability : what a classifier says of the particles; None: there is none
    batches : what the epochs of an iterative reconstruction used; None: the maps are by direct inversion
    score_name : the score that selects
    out_metrics : JSON, one value per name, null where unknown

    Raises
    ------
    InputError  if a table holds other particles or lacks a column, or the true map has another box or voxel size.
    """
    log_round = open_round(scores, beside=[] if probability is None else [probability])
    names = [n for n in score_columns(log_round.schema) if n != MIXTURE or log_round.posterior() is not None]
    _require_score(score_name, names, scores)
    columns = log_round.read([*NEEDED, *(n for n in (*VIEW, IMAGE) if n in log_round.columns)])
    flags = None if truth is None else read_truth(truth, columns["particle_id"])
    metrics = {
        **_selection_metrics(columns),
        **_resolution_metrics(FscCurves.read(round_dir / "fsc.parquet")),
        **cone_metrics(round_cones(round_dir)),
        **_sampling_metrics(columns, log_round.symmetry, log_round.posterior()),
        **truth_map_metrics(round_dir, true_map),
        **_flag_metrics(names, log_round.values, columns["selected"].astype(bool), flags, score_name),
        **{
            name: log_round.metadata.get(name)
            for name in ("error_rate", "kinds", "half_map_agreement", UNCHANGED_SINCE)
        },
        "reasons": _reasons(log_round),
    }
    if batches is not None:
        nothing = np.zeros(len(columns["half"]), dtype=bool)
        correct, known = (nothing, nothing) if flags is None else (flags.correct, flags.known)
        metrics["epochs"] = epoch_metrics(batches, correct, known)
    metrics["round"] = log_round.number
    write_json(out_metrics, metrics)
    log.info("round %s: %d of %d particles kept", metrics["round"], metrics["n_kept"], metrics["n_particles"])


def _require_score(name: str, names: list[str], scores: Path) -> None:
    if name not in names:
        raise InputError(
            f"there is no such score; it holds {', '.join(names)}",
            file=scores,
            column=name,
            fix="Set select.score to one",
        )


def _selection_metrics(columns: Columns) -> dict[str, Any]:
    selected, half = columns["selected"].astype(bool), columns["half"]
    n, kept = len(selected), int(np.count_nonzero(selected))
    return {
        "n_particles": n,
        "n_kept": kept,
        "n_effective": round(effective_number(columns["weight"], columns.get(IMAGE)), 1),
        **_image_metrics(columns, selected),
        "kept_share": share(kept, n),
        **{f"n_kept_half{h}": int(np.count_nonzero(selected & (half == h))) for h in (1, 2)},
    }


def _image_metrics(columns: Columns, selected: Bools) -> dict[str, int]:
    """How many images there are and are kept, where particles share some."""
    if IMAGE not in columns:
        return {}
    return {"n_images": len(np.unique(columns[IMAGE])), "n_kept_images": len(np.unique(columns[IMAGE][selected]))}


def _sampling_metrics(columns: Columns, symmetry: str, likely: Floats32 | None) -> dict[str, float | None]:
    """How evenly the particles in the map sample Fourier space, and how much of it the list leaves out; null where
    views, or probabilities ``likely`` ``(n,)`` of being correct, are not known."""
    if any(name not in columns for name in VIEW):
        return dict.fromkeys(("sampling_compensation_factor", "unsampled_share", "uncovered_share"))
    views = np.stack([columns[name].astype(np.float64) for name in VIEW], axis=1)
    rows, group = columns["weight"] > 0, point_group(symmetry)
    found = sampling_of(views[rows], group, columns["weight"][rows])
    left_out = None if likely is None else uncovered(likely, columns["selected"].astype(bool), views, group)
    return {
        "sampling_compensation_factor": round(found.factor, 6),
        "unsampled_share": round(found.unsampled, 6),
        "uncovered_share": None if left_out is None else round(left_out, 6),
    }


def _reasons(log_round: LogRound) -> dict[str, int]:
    """How many particles are left out, or kept, for each reason."""
    labels = log_round.labels(REASON)
    if labels is None:
        return {}
    codes, names = labels
    counts = np.bincount(codes, minlength=len(names))[:-1].tolist()
    return {name: n for name, n in zip(names, counts, strict=False) if n}


def _resolution_metrics(curves: FscCurves) -> dict[str, Any]:
    shells, corrected = curves.resolution_angstrom, curves.corrected
    return {
        "resolution_angstrom": round(resolution_at(corrected, shells), 4),
        "resolution_half_angstrom": round(resolution_at(corrected, shells, 0.5), 4),
        "resolution_unmasked_angstrom": round(resolution_at(curves.unmasked, shells), 4),
        "nyquist_angstrom": round(float(shells[-1]), 4),
        "fsc_area": round(float(np.mean(corrected[1:])), 6),
    }


def truth_map_metrics(round_dir: Path, true_map: Path | None) -> dict[str, Any]:
    """FSC of the mean of the half maps against the truth, under the round's mask; the area is the mean over shells.

    The merged map is Wiener-filtered: where the filter leaves next to nothing, the mask would carry the strong shells
    into the weak ones, and their FSC would depend on the filter.
    """
    if true_map is None:
        return {"fsc_truth_resolution_angstrom": None, "fsc_truth_area": None, "fsc_truth": None}
    (first, pixel), (second, _) = (read_map(round_dir / f"half{h}.mrc") for h in (1, 2))
    made = 0.5 * (first + second)
    mask, _ = read_map(round_dir / "mask.mrc")
    true, true_pixel = read_map(true_map)
    if true.shape != made.shape or abs(true_pixel - pixel) > 0.01 * pixel:
        raise InputError(
            f"the true map has box {true.shape[0]} at {true_pixel:.4g} Å, "
            f"the round's map has box {made.shape[0]} at {pixel:.4g} Å",
            file=true_map,
            fix="Resample the true map to the particles' box and pixel size",
        )
    require_contrast(true, true_map)
    curve = fsc(made * mask, true * mask)
    shells = shell_resolution(len(made), pixel)
    return {
        "fsc_truth_resolution_angstrom": round(resolution_at(curve, shells, 0.5), 4),
        "fsc_truth_area": round(float(curve[1:].mean()), 6),
        "fsc_truth": [round(float(v), 6) for v in curve],
    }


def _flag_metrics(
    names: list[str],
    values: Callable[[str], NDArray[Any]],
    selected: Bools,
    truth: Truth | None,
    score_name: str,
) -> dict[str, Any]:
    """What the flags say about the scores ``names``, one in memory at a time; null throughout where there are none."""
    chosen = values(score_name).astype(np.float64)
    metrics: dict[str, Any] = {"score": score_name, "n_unscored": int(np.count_nonzero(~np.isfinite(chosen)))}
    if truth is None or not truth.known.any():
        unknown = dict.fromkeys(("correct_rate", "precision", "recall", "correct_rate_all", "auc"))
        return {**metrics, **unknown, "n_flagged": 0, "aucs": {}, "error_kinds": {}}
    known, correct = truth.known, truth.correct[truth.known]
    selected = selected[known]
    aucs = rounded({n: auc(values(n)[known], correct, lower_is_better=lower_is_better(n)) for n in names})
    kinds = rates_by_kind(
        truth.kinds[known], chosen[known], selected, correct, lower_is_better=lower_is_better(score_name)
    )
    return {
        **metrics,
        **rounded(selection_rates(selected, correct)),
        "correct_rate_all": round(float(correct.mean()), 6),
        "n_flagged": int(known.sum()),
        "auc": aucs[score_name],
        "aucs": aucs,
        "error_kinds": {
            kind: {**row, **rounded({k: row[k] for k in ("kept_share", "auc")})} for kind, row in kinds.items()
        },
    }
