"""Selections applied to a log that is there: what a run would have kept under other settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.cores import available_cores
from cryocore.errors import InputError
from cryocore.explore.replay.bands import recomputed
from cryocore.explore.replay.groups import rank_groups
from cryocore.explore.replay.known import Known, SameViews, read_known
from cryocore.explore.replay.outcome import Outcome, Overlap, Rates
from cryocore.explore.replay.request import Plan, Request, plan
from cryocore.explore.replay.resolution import Envelope, Envelopes, Prediction, predict
from cryocore.explore.replay.views import view_shift
from cryocore.formats.kinds import CTF_COLUMNS, HALF_SET, PARTICLE_ID, read_tables, require_other_file
from cryocore.formats.source import Source
from cryocore.log.error_rate import ErrorRate
from cryocore.log.names import MIXTURE, QUALITY, lower_is_better
from cryocore.log.quality import Quality
from cryocore.log.rates import auc, selection_rates
from cryocore.log.rounds import LogRound, find_rounds, wanted_rounds
from cryocore.select.choose import DESCRIBING, choose, columns_needed, described
from cryocore.select.stage import subset_metadata, subset_table, write_kept
from cryocore.tables.io import write_table
from cryocore.tables.particles import BFACTOR, SCALE, Particles, require_same_particles, total_envelopes
from cryocore.types import Floats32

Progress = Callable[[], None]


def replay(
    source: Path, requests: Sequence[Request], *, rounds: str = "all", done: Progress | None = None
) -> list[Outcome]:
    """Apply selections to the rounds of a log.

    Parameters
    ----------
    source : directory of a run or of a log, or one file of it
    requests : what to try in each round; ``Request()`` is the run's own selection
    rounds : the rounds whose scores decide: all, last, or numbers as ``0,2``
    done : called after each outcome

    Returns
    -------
    One outcome per round and request, in that order.

    Raises
    ------
    InputError  if the log lacks what a request needs, or nothing would be kept.
    """
    log = find_rounds(source)
    chosen = wanted_rounds(log, rounds)
    after = {r.number - 1: r for r in log}
    plans = [[plan(request, r) for request in requests] for r in chosen]

    views = SameViews()

    def work(job: tuple[LogRound, list[Plan]]) -> list[Outcome]:
        known = read_known(job[0], after.get(job[0].number), views)
        found = []
        for p in job[1]:
            found.append(outcome_of(job[0], known, p))
            if done is not None:
                done()
        return found

    with ThreadPoolExecutor(available_cores()) as pool:
        return [outcome for found in pool.map(work, zip(chosen, plans, strict=True)) for outcome in found]


def outcome_of(log_round: LogRound, known: Known, p: Plan) -> Outcome:
    """One selection of one round, of which ``known`` is what the log knows."""
    settings = p.settings
    columns = {}
    available = log_round.columns
    if p.limit is not None:
        columns[settings.score] = recomputed(log_round, settings.score, p.limit)
        available.append(settings.score)
    if settings.score == QUALITY:
        columns[QUALITY] = _by_quality(known.quality(p.seed), log_round)
        available.append(QUALITY)
    names = [n for n in columns_needed(settings, available, described=False) if n not in columns]
    columns |= log_round.read(names)
    rate = ErrorRate.of(log_round.metadata)
    selection = choose(columns, settings, p.selection, symmetry=log_round.symmetry, rate=rate)
    score = columns.get(p.score)
    if score is None or p.score == MIXTURE:
        score = log_round.column(MIXTURE) if p.score == MIXTURE else log_round.column(p.score)
    score = np.full(len(known.ids), np.nan, dtype=np.float32) if score is None else score
    kept = selection.selected
    return Outcome(
        round=log_round.number,
        plan=p,
        selection=selection,
        ids=known.ids,
        half=known.half,
        score=score,
        flags=known.flags,
        worst_kept=_worst_kept(score, kept, known.half, lower_is_better(p.score)),
        rates=_rates(score, kept, known.flags, lower_is_better(p.score)),
        overlap=None if known.kept_next is None else _overlap(kept, known.kept_next),
        views=None if known.views is None else view_shift(known.views, selection.weights, known.likely, p.seed),
        correct_from=known.correct_from,
        prediction=_prediction(log_round, known, selection.weights, p),
        dropped={kind: rank_groups(~kept, *groups) for kind, groups in known.groups.items()},
        estimate=partial(known.quality, p.seed),
    )


def _by_quality(found: Quality | None, log_round: LogRound) -> Floats32:
    """What cuts by quality rank by, ``(n,)``: minus the B-factors, or scales where only these differ."""
    if found is None:
        problem = f"all particles are of equal quality by the log of round {log_round.number}"
        raise InputError(problem, file=log_round.path, fix="Choose another score than quality")
    return -found.bfactor_angstrom2 if found.spreads.of_bfactors else found.scale


def _prediction(log_round: LogRound, known: Known, weights: Floats32, p: Plan) -> Prediction | None:
    if known.weights is None:
        return None
    correct = np.ones_like(weights) if known.likely is None else known.likely
    found = known.quality(p.seed) if p.tells_quality else None
    envelopes = None
    if found is not None:
        own, none = Envelope(found.bfactor_angstrom2, found.scale), Envelope.none(len(weights))
        before = _applied(log_round, none)
        envelopes = Envelopes(own, before, none if p.settings.quality == "none" else own)
    return predict(known.weights, weights, correct, known.half, log_round.curves, envelopes)


def _applied(log_round: LogRound, none: Envelope) -> Envelope:
    """Envelopes that the round's map was made with."""
    told = log_round.quality()
    return Envelope(told.get(BFACTOR, none.bfactor), told.get(SCALE, none.scale))


def _worst_kept(
    score: Floats32, kept: NDArray[np.bool_], half: NDArray[np.int8], lower_is_good: bool
) -> tuple[float, float]:
    found = []
    for h in (1, 2):
        values = score[kept & (half == h) & np.isfinite(score)]
        found.append(float(values.max() if lower_is_good else values.min()) if len(values) else float("nan"))
    return found[0], found[1]


def _rates(score: Floats32, kept: NDArray[np.bool_], flags: NDArray[np.int8], lower_is_good: bool) -> Rates | None:
    known = flags >= 0
    if not known.any():
        return None
    correct = flags[known] == 1
    found = selection_rates(kept[known], correct)
    return Rates(
        n_flagged=int(known.sum()),
        correct_rate=found["correct_rate"],
        correct_rate_all=float(correct.mean()),
        recall=found["recall"],
        auc=auc(score[known], correct, lower_is_better=lower_is_good),
    )


def _overlap(kept: NDArray[np.bool_], run: NDArray[np.bool_]) -> Overlap:
    both, either = int((kept & run).sum()), int((kept | run).sum())
    return Overlap(both / either if either else 1.0, both, int((kept & ~run).sum()), int((run & ~kept).sum()))


def require_one(n: int) -> None:
    """Refuse what is made for one selection of one round, where there are several."""
    if n != 1:
        raise InputError(f"there are {n} selections and one is wanted", fix="Choose one by --round, and one rule")


def write_subset(outcome: Outcome, log_round: LogRound, out: Path) -> None:
    """Write a selection as the select stage does; see docs/reference/selection-rules.md."""
    p = outcome.plan
    selection = described(outcome.selection, log_round.read([n for n in DESCRIBING if n in log_round.columns]))
    metadata = subset_metadata(p.settings, p.seed, p.selection, selection, outcome.quality)
    write_table(out, subset_table(outcome.ids, selection, outcome.quality), **metadata)


def write_star(outcome: Outcome, log_round: LogRound, out: Path, parent: Path | None = None) -> None:
    """Write the kept rows of the parent file, in its format; a STAR file with the log's scores.

    ``parent`` is by default the file that the run read.

    Raises
    ------
    InputError  if the file is not known, or its particles are not those of the log.
    """
    from cryocore.formats.star import IMAGE_NAME
    from cryocore.ingest.columns import columns_of
    from cryocore.ingest.join import NEUTRAL
    from cryocore.ingest.particles import ids_of, ids_of_file
    from cryocore.ingest.stacks import known_root

    if parent is None:
        if log_round.run_dir is None:
            raise InputError(
                "the log lies in no run's directory", file=log_round.path, fix="Name the particles' file too"
            )
        data = Particles.read(log_round.run_dir / "particles.parquet")
        source, ids = Source.of(data, _parent_file(data.parent, log_round.run_dir)), data.ids
        own = {name: data.column(name) for name in CTF_COLUMNS}
        if source.root is not None:
            found = known_root(source.path, data.table.column("stack").unique().to_pylist())
            source = replace(source, root=found or str(_parent_file(source.root, log_round.run_dir)))
    else:
        tables = read_tables(parent)
        known, half = ids_of(tables), log_round.read(["half"])["half"].astype(np.int64)
        rows = np.flatnonzero(np.isin(known, outcome.ids))
        given = tables.particles.get(HALF_SET)
        is_given = given is not None and np.array_equal(given.to_numpy()[rows], half)
        root = known_root(parent, tables.particles.get(IMAGE_NAME, ()))
        columns: dict[str, NDArray[Any]] = {} if is_given else {HALF_SET: half}
        columns |= {} if np.array_equal(known, ids_of_file(tables)) else {PARTICLE_ID: known[rows]}
        source = Source(parent, rows, len(known), columns, root)
        ids, numbers = known[rows], columns_of(tables).numbers
        own = {n: numbers(label, NEUTRAL[label])[rows].astype(np.float32) for n, label in CTF_COLUMNS.items()}
    fix = "Give the file that the run read"
    require_same_particles(outcome.ids, ids, file=source.path, fix=fix)
    require_other_file(out, source.path)
    better = outcome.quality
    envelopes = {} if better is None else total_envelopes(own, better.columns())
    write_kept(source, log_round, outcome.selection.weights, outcome.kept, out, envelopes)


def _parent_file(name: str, run_dir: Path) -> Path:
    """The file of particles that a run read; a relative name starts where the run was started, above ``results``."""
    path = Path(name)
    return path if path.is_absolute() or path.exists() else run_dir.absolute().parent.parent / path
