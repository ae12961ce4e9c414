"""The evidence of one round: metrics.json and the log. The only reader of the truth."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cryocore.data import FscCurves, lower_is_better, require_same_particles, score_columns
from cryocore.errors import InputError
from cryocore.files import (
    AGAIN,
    as_numpy,
    atomic_path,
    conforming,
    open_table,
    parquet_options,
    read_table,
    table_metadata,
    with_metadata,
    write_json,
)
from cryocore.geometry.symmetry import point_group
from cryocore.maps.cones import cone_metrics, round_cones
from cryocore.maps.fsc import fsc, resolution_at
from cryocore.maps.mrc import read_map, require_contrast
from cryocore.orientation.sampling import sampling_of
from cryocore.rates import auc, rates_by_kind, rounded, selection_rates, share
from cryocore.select.choose import judged
from cryocore.select.mixture import MIXTURE_COLUMNS
from cryocore.select.registry import MIXTURE
from cryocore.select.stage import read_columns
from cryocore.statistics import effective_number
from cryocore.types import Bools
from cryocore.validate.epochs import epoch_metrics

NEEDED = ("particle_id", "half", "selected", "weight")
TRUTH_SCHEMA = pa.schema([("particle_id", pa.uint64()), ("is_correct", pa.bool_()), ("error_kind", pa.string())])

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Truth:
    """Flags of the particles, in the order of the data set."""

    right: Bools
    known: Bools
    kinds: NDArray[np.object_]


def validate_round(
    scores: Path,
    round_dir: Path,
    truth: Path | None,
    true_map: Path | None,
    *,
    score_name: str,
    seed: int,
    out_metrics: Path,
    out_log: Path,
    batches: Path | None = None,
) -> None:
    """Write the metrics and the log of one round.

    Parameters
    ----------
    scores : scores.parquet, one row per particle of the data set
    round_dir : holds half1.mrc, half2.mrc, map.mrc, mask.mrc and fsc.parquet
    truth : table with particle_id and is_correct, and error_kind where kinds are known; None: nothing is known
    true_map : MRC map of the truth; None: none
    batches : what the epochs of an iterative reconstruction used; None: the maps are by direct inversion
    score_name : the score that selects
    seed : of what is resampled for the interval of the error rate
    out_metrics : JSON, one value per name, null where unknown
    out_log : ``scores`` without ``round``, which its folder's name states, with ``mixture`` (log odds of being right)
        and ``is_correct``; its metadata hold the estimated error rate

    Raises
    ------
    InputError  if a table holds other particles or lacks a column, or the true map has another box or voxel size.
    """
    with open_table(scores, absent="Run the workflow stage score") as file:
        _require_columns(file, scores)
        ids, half = _column(file, "particle_id"), _column(file, "half")
        columns = read_columns(scores, [n for n in (*MIXTURE_COLUMNS, "decoy_z") if n in file.schema_arrow.names])
        odds, rate = judged(columns, ids, half, seed)
        names = [n for n in score_columns(file.schema_arrow) if n != MIXTURE]
        if odds is not None:
            names.append(MIXTURE)
        _require_score(score_name, names, scores)

        def values(name: str) -> NDArray[Any]:
            return odds if name == MIXTURE and odds is not None else _column(file, name)

        flags = _read_truth(truth, ids)
        metrics = {
            **_selection_metrics(file),
            **_resolution_metrics(FscCurves.read(round_dir / "fsc.parquet")),
            **cone_metrics(round_cones(round_dir)),
            **_sampling_metrics(file),
            **truth_map_metrics(round_dir, true_map),
            **_flag_metrics(names, values, _column(file, "selected").astype(bool), flags, score_name),
            "error_rate": None if rate is None else rate.as_dict(),
        }
        if batches is not None:
            nothing = np.zeros(len(ids), dtype=bool)
            right, known = (nothing, nothing) if flags is None else (flags.right, flags.known)
            metrics["epochs"] = epoch_metrics(batches, right, known)
        metrics["round"] = table_metadata(file.schema_arrow).get("round", _first_round(file))
        write_json(out_metrics, metrics)
        _write_log(file, odds, flags, metrics["error_rate"], out_log)
        log.info("round %s: %d of %d particles kept", metrics["round"], metrics["n_kept"], metrics["n_particles"])


def _require_columns(file: pq.ParquetFile, scores: Path) -> None:
    missing = [name for name in NEEDED if name not in file.schema_arrow.names]
    if missing:
        raise InputError("the column is missing", file=scores, column=missing[0], remedy=AGAIN)


def _require_score(name: str, names: list[str], scores: Path) -> None:
    if name not in names:
        raise InputError(
            f"there is no such score; it holds {', '.join(names)}",
            file=scores,
            column=name,
            remedy="Set select.score to one",
        )


def _column(file: pq.ParquetFile, name: str) -> NDArray[Any]:
    return file.read(columns=[name]).column(0).to_numpy()


def _first_round(file: pq.ParquetFile) -> int | None:
    if "round" not in file.schema_arrow.names or file.metadata.num_rows == 0:
        return None
    return int(next(file.iter_batches(1, columns=["round"])).column(0)[0].as_py())


def _read_truth(path: Path | None, ids: NDArray[np.uint64]) -> Truth | None:
    if path is None:
        return None
    remedy = "Give a table with particle_id (uint64), is_correct (true, false or null) and, if known, error_kind"
    found = read_table(path, remedy=remedy)
    known_kinds = TRUTH_SCHEMA.names[-1] in found.column_names
    schema = TRUTH_SCHEMA if known_kinds else TRUTH_SCHEMA.remove(2)
    table = conforming(found, schema, file=path, remedy=remedy, gaps=TRUTH_SCHEMA.names[1:])
    require_same_particles(
        as_numpy(table.column("particle_id")),
        ids,
        file=path,
        remedy="Give the truth of these particles, one row each in the order of the STAR file",
    )
    flags = table.column("is_correct")
    known = flags.is_valid().to_numpy()
    kinds = np.full(len(table), "wrong", dtype=object)
    if known_kinds:
        kinds = table.column("error_kind").fill_null("unknown").to_numpy(zero_copy_only=False)
    return Truth(flags.fill_null(False).to_numpy().astype(bool), known, kinds)


def _selection_metrics(file: pq.ParquetFile) -> dict[str, Any]:
    selected, half = _column(file, "selected").astype(bool), _column(file, "half")
    n, kept = len(selected), int(np.count_nonzero(selected))
    return {
        "n_particles": n,
        "n_kept": kept,
        "n_effective": round(effective_number(_column(file, "weight")), 1),
        "kept_share": share(kept, n),
        **{f"n_kept_half{h}": int(np.count_nonzero(selected & (half == h))) for h in (1, 2)},
    }


def _sampling_metrics(file: pq.ParquetFile) -> dict[str, float | None]:
    """How evenly the particles in the map sample Fourier space; null where views are not known."""
    names = [f"view_{c}" for c in "xyz"]
    if any(name not in file.schema_arrow.names for name in names):
        return {"sampling_compensation_factor": None, "unsampled_share": None}
    weight = _column(file, "weight")
    rows = weight > 0
    views = np.stack([_column(file, name)[rows].astype(np.float64) for name in names], axis=1)
    group = point_group(table_metadata(file.schema_arrow).get("symmetry", "C1"))
    found = sampling_of(views, group, weight[rows])
    return {"sampling_compensation_factor": round(found.factor, 6), "unsampled_share": round(found.unsampled, 6)}


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
            remedy="Resample the true map to the particles' box and pixel size",
        )
    require_contrast(true, true_map)
    curve = fsc(made * mask, true * mask)
    with np.errstate(divide="ignore"):
        shells = len(made) * pixel / np.arange(len(curve))
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
    known, right = truth.known, truth.right[truth.known]
    selected = selected[known]
    aucs = rounded({n: auc(values(n)[known], right, lower_is_better=lower_is_better(n)) for n in names})
    kinds = rates_by_kind(
        truth.kinds[known], chosen[known], selected, right, lower_is_better=lower_is_better(score_name)
    )
    return {
        **metrics,
        **rounded(selection_rates(selected, right)),
        "correct_rate_all": round(float(right.mean()), 6),
        "n_flagged": int(known.sum()),
        "auc": aucs[score_name],
        "aucs": aucs,
        "error_kinds": {
            kind: {**row, **rounded({k: row[k] for k in ("kept_share", "auc")})} for kind, row in kinds.items()
        },
    }


def _write_log(
    file: pq.ParquetFile,
    odds: NDArray[np.float64] | None,
    truth: Truth | None,
    error_rate: dict[str, Any] | None,
    out: Path,
) -> None:
    """Copy the scores row group by row group, with the log odds and the flags."""
    columns = [name for name in file.schema_arrow.names if name not in ("round", MIXTURE, "is_correct")]
    fields = [file.schema_arrow.field(name) for name in columns]
    added = [pa.field(MIXTURE, pa.float32()), pa.field("is_correct", pa.bool_())]
    schema = with_metadata(
        pa.schema([*fields, *added], metadata=file.schema_arrow.metadata).empty_table(), error_rate=error_rate
    ).schema
    start = 0
    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, schema, **parquet_options(schema)) as writer:
        for group in range(file.num_row_groups):
            part = file.read_row_group(group, columns=columns).select(columns)
            rows = slice(start, start + len(part))
            flags = pa.nulls(len(part), pa.bool_())
            if truth is not None:
                flags = pa.array(truth.right[rows], mask=~truth.known[rows])
            likely = pa.nulls(len(part), pa.float32()) if odds is None else pa.array(odds[rows].astype(np.float32))
            writer.write_table(pa.Table.from_arrays([*part.columns, likely, flags], schema=schema))
            start += len(part)
