"""A run as a whole: the table of rounds, the figures and the report."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.config.run import Config
from cryocore.errors import InputError
from cryocore.figures.look import save, style
from cryocore.formats.kinds import CTF_COLUMNS, copy_particles, read_tables
from cryocore.formats.source import FIGURE_OF_MERIT, Source, in_full
from cryocore.formats.star import IMAGE_NAME
from cryocore.geometry.symmetry import point_group
from cryocore.ingest.stacks import known_root
from cryocore.log.names import REASON, lower_is_better
from cryocore.log.rounds import open_round
from cryocore.maps.curves import FscCurves
from cryocore.maps.mrc import read_map
from cryocore.markdown import aligned_text
from cryocore.report.chart import fsc_chart
from cryocore.report.chimerax import ShownMaps, write_script
from cryocore.report.classifier import classifier_section
from cryocore.report.cuts import cuts_section
from cryocore.report.examined import examined_sections
from cryocore.report.groups import groups_section
from cryocore.report.left_out import left_out_section
from cryocore.report.loss import loss_section
from cryocore.report.orientation import orientation_section
from cryocore.report.page import Contents, Provenance, figure_file, write_report
from cryocore.report.quality import quality_section
from cryocore.report.reasons import reasons_section
from cryocore.report.section import Drawing, Section
from cryocore.report.states import states_section
from cryocore.report.verdict import recommended_sentence, warnings
from cryocore.tables.io import atomic_path, read_table, table_metadata, write_table
from cryocore.tables.particles import Particles
from cryocore.validate import figures
from cryocore.validate.stopping import (
    Samples,
    Stop,
    independent_samples,
    noise_overlap,
    recommended_round,
    resolution_range,
)
from cryocore.validate.surfaces import MapPictures, map_pictures, surface_level

Metrics = dict[str, Any]

FIRST_COLUMNS = ("round", "n_kept", "resolution_angstrom", "correct_rate", "auc")
INTEGER_COLUMNS = {
    "round",
    "n_kept",
    "n_kept_half1",
    "n_kept_half2",
    "n_particles",
    "n_unscored",
    "n_flagged",
    "unchanged_since",
}
ERROR_RATE = (("", "value"), ("_low", "low"), ("_high", "high"))
MOST_PICTURES = 6

log = logging.getLogger(__name__)


def summarise(
    run_dir: Path,
    *,
    n_rounds: int,
    config: Config | dict[str, Any],
    out_table: Path,
    out_report: Path,
    out_figures: Path,
    star: Path,
    out_star: Path,
    out_script: Path,
    out_assessed: Path | None = None,
) -> None:
    """Write the table of rounds, figures, report, file of the recommended subset and script; print the table.

    Parameters
    ----------
    run_dir : holds round_{r}/, log/round={r}/log.parquet and maybe examine.json
    n_rounds : the last round to look for; rounds after the first gap are left out
    config : the run's configuration
    out_table : Parquet, one row per round
    out_report : one HTML file that needs nothing else
    out_figures : folder; drawings as SVG, pictures as PNG
    star : file of all particles: STAR, .cs or .thu
    out_star : the particles of the round to stop at, in the same format
    out_script : commands for ChimeraX that open the maps
    out_assessed : STAR file of all particles, with weight and reason in that round; None: there is none
    """
    settings = config.model_dump(mode="json") if isinstance(config, Config) else config
    found = findings(run_dir, n_rounds, settings, "" if out_assessed is None else out_assessed.name)
    rounds, curves, stop = found.rounds, found.curves, found.stop
    table = rounds_table(rounds, stop)
    write_table(out_table, table, run=str(settings.get("run", run_dir.name)))
    told = "\n".join(f"Look at this first: {sentence}" for sentence in found.warnings)
    print(*filter(None, (console_table(table), told, recommended_sentence(rounds, stop))), sep="\n\n")
    root = (settings.get("input") or {}).get("root")
    _copy_subset(run_dir, stop.recommended, star, out_star, root)
    if out_assessed is not None:
        write_assessed(run_dir, stop.recommended, out_assessed)
    level = _level(run_dir, rounds[-1]["round"])
    maps = _shown_maps([m["round"] for m in rounds], stop, level)
    write_script(out_script, run_dir, maps, run=str(settings.get("run", run_dir.name)))
    drawn = [_curve(m, c) for m, c in zip(rounds, curves, strict=True)]
    _draw(run_dir, rounds, drawn, table, level, out_figures)
    for drawing in (drawing for section in found.sections for drawing in section.drawings):
        keep(drawing, out_figures)
    contents = Contents(rounds, stop, found.warnings, fsc_chart(drawn), found.sections, out_star.name)
    metadata = table_metadata(read_table(_log(run_dir, rounds[-1]["round"]), ["particle_id"]).schema)
    write_report(out_report, contents, out_figures, Provenance.of(settings, metadata))


@dataclass(frozen=True)
class Findings:
    """What a report says of a run, before it is drawn.

    ``rounds`` and ``curves`` : metrics and FSC of each round; ``warnings`` : all of them, those of the examination
    first, those of other ``sections`` last
    """

    rounds: list[Metrics]
    curves: list[FscCurves]
    stop: Stop
    sections: list[Section]
    warnings: list[str]


def findings(run_dir: Path, n_rounds: int, settings: dict[str, Any], assessed: str = "") -> Findings:
    """Everything that a run's report tells its reader.

    ``settings`` is the run's configuration as plain values, ``assessed`` the name of the file of all particles, if
    there is one.
    """
    rounds = read_rounds(run_dir, n_rounds)
    mask, _ = read_map(run_dir / "round_0" / "mask.mrc")
    samples = independent_samples(mask, len(point_group(settings.get("symmetry") or "C1")))
    curves = [FscCurves.read(run_dir / f"round_{m['round']}" / "fsc.parquet") for m in rounds]
    rounds = [{**m, **_range_of_resolution(c, samples)} for m, c in zip(rounds, curves, strict=True)]
    stop = first_of_equal(_stop(run_dir, rounds, curves, samples), rounds)
    examined = examined_sections(run_dir)
    first = [warning for section in examined for warning in section.warnings]
    last, seed = rounds[-1]["round"], int(settings.get("seed", 0))
    sections = [
        reasons_section(rounds[stop.recommended], rounds[max(stop.recommended - 1, 0)], assessed),
        *filter(None, [left_out_section(run_dir / "left_out"), states_section(run_dir / "left_out")]),
        cuts_section(run_dir, last),
        loss_section(run_dir, last, seed=seed),
        orientation_section(run_dir, rounds, seed=seed),
        groups_section(run_dir, last),
        quality_section(run_dir, last),
        *filter(None, [classifier_section(run_dir, last, rounds[-1]["aucs"], **_classifier(settings))]),
    ]
    region = (settings.get("score") or {}).get("region")
    judged = (
        [f"Scores, FSC and resolution are those of the region {region}, not of the whole molecule."] if region else []
    )
    told = [
        *judged,
        *first,
        *warnings(rounds, n_rounds=n_rounds),
        *(w for section in sections for w in section.warnings),
    ]
    return Findings(rounds, curves, stop, [*examined, *sections], told)


def read_rounds(run_dir: Path, n_rounds: int) -> list[Metrics]:
    """The metrics of rounds 0, 1, ... as far as they exist, with the box and voxel size of the maps."""
    rounds = []
    for r in range(n_rounds + 1):
        path = run_dir / f"round_{r}" / "metrics.json"
        if not path.exists():
            break
        try:
            values = json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f"not JSON ({error})", file=path, fix="Delete it and run snakemake again") from None
        curves = FscCurves.read(path.parent / "fsc.parquet")
        rounds.append({**{k: curves.metadata[k] for k in ("box", "pixel_size_angstrom")}, **values})
    if not rounds:
        raise InputError(
            "there is no finished round", file=run_dir / "round_0" / "metrics.json", fix="Run the workflow"
        )
    return rounds


def rounds_table(rounds: list[Metrics], stop: Stop) -> pa.Table:
    """One row per round: round, n_kept, resolution_angstrom, correct_rate, auc, then the other single values.

    ``resolution_low_angstrom`` and ``_high_`` say what the resolution would be were its FSC a standard deviation lower
    or higher. ``fsc_area_difference``, its ``_sd`` and ``fsc_worst_sd`` compare a round's masked half-map FSC with the
    best round's; ``is_recommended`` marks the round to stop at.
    """
    scores = sorted({name for m in rounds for name in m["aucs"]})
    kinds = sorted({name for m in rounds for name in m["error_kinds"]})
    plain = [k for k in rounds[0] if k not in FIRST_COLUMNS and not isinstance(rounds[0][k], (dict, list))]
    plain = [k for k in plain if k not in ("score", "fsc_truth", "error_rate")]
    columns: dict[str, list[Any]] = {name: [m.get(name) for m in rounds] for name in (*FIRST_COLUMNS, *sorted(plain))}
    columns |= {f"auc_{name}": [m["aucs"].get(name) for m in rounds] for name in scores}
    columns |= {
        f"kept_share_{kind}": [m["error_kinds"].get(kind, {}).get("kept_share") for m in rounds] for kind in kinds
    }
    rates = [m["error_rate"] or {} for m in rounds]
    columns |= {f"error_rate{end}": [r.get(name) for r in rates] for end, name in ERROR_RATE}
    columns |= {
        "fsc_area_difference": [c.area for c in stop.comparisons],
        "fsc_area_difference_sd": [c.area_sd for c in stop.comparisons],
        "fsc_worst_sd": [c.worst_sd for c in stop.comparisons],
    }
    recommended = pa.array([r == stop.recommended for r in range(len(rounds))])
    arrays = {n: pa.array(v, pa.int64() if n in INTEGER_COLUMNS else pa.float64()) for n, v in columns.items()}
    return pa.table({**arrays, "is_recommended": recommended})


def console_table(table: pa.Table) -> str:
    """The first columns, aligned for a terminal.

    >>> print(console_table(pa.table({"round": [0], "n_kept": [4000], "resolution_angstrom": [6.1],
    ...                               "correct_rate": [0.7], "auc": [None]})))
    round  n_kept  resolution_angstrom  correct_rate  auc
        0    4000                 6.10         0.700    -
    """
    digits = {"resolution_angstrom": 2, "correct_rate": 3, "auc": 3}
    columns = []
    for name in FIRST_COLUMNS:
        values = table.column(name).to_pylist()
        columns.append(
            [name, *("-" if v is None else f"{v:.{digits[name]}f}" if name in digits else str(v) for v in values)]
        )
    return aligned_text(list(zip(*columns, strict=True)))


def _range_of_resolution(curves: FscCurves, samples: Samples) -> Metrics:
    """What else the resolution could be, since an FSC is a noisy curve."""
    ends = resolution_range(curves.corrected, curves.resolution_angstrom, samples)
    return dict(zip(("resolution_low_angstrom", "resolution_high_angstrom"), ends, strict=True))


def _stop(run_dir: Path, rounds: list[Metrics], curves: list[FscCurves], samples: Samples) -> Stop:
    """Where to stop, from the curves of the rounds and the weights in their logs; rounds count from 0 without gaps."""

    def overlap(first: int, second: int) -> float:
        return noise_overlap(_weights(run_dir, first), _weights(run_dir, second))

    return recommended_round([c.masked for c in curves], [m["n_effective"] for m in rounds], overlap, samples)


def first_of_equal(stop: Stop, rounds: Sequence[Metrics]) -> Stop:
    """The same with the first of rounds that stay as they were."""

    def first(number: int) -> int:
        since = rounds[number].get("unchanged_since")
        return number if since is None else int(since)

    return replace(stop, best=first(stop.best), recommended=first(stop.recommended))


def _weights(run_dir: Path, number: int) -> NDArray[np.float32]:
    weights: NDArray[np.float32] = read_table(_log(run_dir, number), ["weight"]).column(0).to_numpy()
    return weights


def _copy_subset(run_dir: Path, number: int, star: Path, out: Path, root: str | None) -> None:
    """The file of a round's particles under another name; image paths in it start from the same root."""
    if number:
        return copy_particles(run_dir / f"round_{number}" / f"subset{out.suffix}", out)
    known = run_dir / "particles.parquet"
    if known.exists():
        source = Source.of(Particles.read(known), star)
        root = root or source.root
        if not source.is_as_read:
            return replace(source, root=root).write(np.ones(len(source.rows), dtype=bool), {}, out)
    return copy_particles(star, out, root or known_root(star, read_tables(star).particles.get(IMAGE_NAME, ())))


def write_assessed(run_dir: Path, number: int, out: Path) -> None:
    """All particles in the format of their STAR file, with what a round makes of each and the envelopes of its map."""
    known = open_round(_log(run_dir, number), beside=[])
    found = known.read(["weight", "selected"])
    codes, names = known.labels(REASON) or (np.zeros(len(found["weight"]), dtype=np.int32), ["unknown"])
    said = np.array(["none" if name == "unknown" else name for name in names], dtype=object)[codes]
    said[~found["selected"].astype(bool) & (said == "none")] = "unknown"
    columns = {FIGURE_OF_MERIT: found["weight"], "cryocoreSelected": found["selected"].astype(np.int8)}
    data = Particles.read(run_dir / "particles.parquet")
    envelopes = data.total_envelopes(known.quality())
    columns |= {CTF_COLUMNS[name]: in_full(values) for name, values in envelopes.items()}
    Source.of(data).write(np.ones(len(data), dtype=bool), columns | {"cryocoreReason": said}, out)


def _log(run_dir: Path, number: int) -> Path:
    return run_dir / "log" / f"round={number}" / "log.parquet"


def _draw(
    run_dir: Path, rounds: list[Metrics], curves: list[figures.Curve], table: pa.Table, level: float, folder: Path
) -> None:
    """All figures, each under its name."""
    numbers = [m["round"] for m in rounds]
    with style():
        save(figures.progress_figure(table.to_pydict()), folder / figure_file("progress"))
        save(figures.stopping_figure(table.to_pydict()), folder / figure_file("stopping"))
        save(figures.fsc_figure(curves), folder / figure_file("fsc"))
        panels = [_scores(run_dir, m, after) for m, after in zip(rounds, [*rounds[1:], None], strict=True)]
        save(figures.histogram_figure(panels, rounds[0]["score"]), folder / figure_file("scores"))
        del panels
        maps = _map_pictures(run_dir, [numbers[i] for i in _spread(len(numbers), MOST_PICTURES)], level)
        save(figures.surface_figure(maps), folder / figure_file("surfaces"))
        save(figures.slice_figure(maps), folder / figure_file("slices"))


def keep(drawing: Drawing, folder: Path) -> None:
    """Draw a figure of a section into a folder, or copy it where it is drawn."""
    file = folder / figure_file(drawing.name)
    if isinstance(drawing.figure, Path):
        with atomic_path(file) as temporary:
            shutil.copyfile(drawing.figure, temporary)
    else:
        save(drawing.figure, file)


def _spread(count: int, most: int) -> list[int]:
    """At most ``most`` indices of ``count``, evenly spread, the first and the last among them."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, most)).round()})


def _level(run_dir: Path, number: int) -> float:
    """The threshold at which the maps of all rounds are shown: that of the last one's surface."""
    folder = run_dir / f"round_{number}"
    return surface_level(read_map(folder / "map.mrc")[0], read_map(folder / "mask.mrc")[0])


def _shown_maps(numbers: list[int], stop: Stop, level: float) -> ShownMaps:
    """The first round, the recommended one and the last."""
    indices = tuple(sorted({0, stop.recommended, len(numbers) - 1}))
    return ShownMaps(tuple(numbers[i] for i in indices), indices, len(numbers), numbers[stop.recommended], level)


def _map_pictures(run_dir: Path, numbers: list[int], level: float) -> list[MapPictures]:
    """Pictures of the rounds' maps; one map is in memory at a time."""
    mask, _ = read_map(run_dir / f"round_{numbers[-1]}" / "mask.mrc")
    return [map_pictures(r, read_map(run_dir / f"round_{r}" / "map.mrc")[0], mask, level) for r in numbers]


def _curve(metrics: Metrics, curves: FscCurves) -> figures.Curve:
    truth = None if metrics["fsc_truth"] is None else np.array(metrics["fsc_truth"])
    return figures.Curve(metrics["round"], curves.resolution_angstrom, curves.corrected, truth)


def _scores(run_dir: Path, metrics: Metrics, after: Metrics | None) -> figures.Scores:
    """The chosen score of a round; the cut is the worst score that the next round keeps."""
    number, name = metrics["round"], metrics["score"]
    log_round = open_round(_log(run_dir, number))
    values, flags = log_round.values(name).astype(np.float64), log_round.flags()
    cut = None
    if after is not None and after["n_kept"] < after["n_particles"]:
        kept = values[_selected(run_dir, after["round"])]
        kept = kept[np.isfinite(kept)]
        if kept.size:
            cut = float(kept.max() if lower_is_better(name) else kept.min())
    return figures.Scores(number, values, flags, cut)


def _selected(run_dir: Path, number: int) -> NDArray[np.bool_]:
    return read_table(_log(run_dir, number), ["selected"]).column(0).to_numpy().astype(bool)


def _classifier(settings: dict[str, Any]) -> dict[str, Any]:
    """What the section on the classifier needs of the settings."""
    select = settings.get("select") or {}
    selects = "probability" in (select.get("rule"), select.get("score"))
    return {"model": str((settings.get("classify") or {}).get("model", "none")), "selects": selects}
