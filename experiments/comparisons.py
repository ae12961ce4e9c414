"""What a selection is measured against: maps of other subsets of the same particles, and rules of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.config.base import per_round
from cryocore.config.rules import RULES
from cryocore.config.run import Config
from cryocore.config.score import Score
from cryocore.config.select import Select
from cryocore.log.columns import read_columns
from cryocore.log.names import MIXTURE
from cryocore.log.rates import auc
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import fsc
from cryocore.maps.mrc import read_map, write_map
from cryocore.reconstruct import reconstruct
from cryocore.score import score
from cryocore.score.chunks import CHUNK
from cryocore.score.reference import first_band
from cryocore.score.scorer import Scorer
from cryocore.score.scores import BAND_COLUMNS, BandStatistics, cryosieve
from cryocore.select.rules import weights_of
from cryocore.statistics import posterior
from cryocore.tables.io import read_table, write_table
from cryocore.tables.particles import Particles, read_subset
from cryocore.types import Bools, Floats, Floats32
from cryocore.validate.metrics import truth_map_metrics

NO_SHARE = np.float32(1e30)
"""Density of samples so large that a particle's share in its own prediction vanishes."""
RETAINED = 0.8
"""Share of its particles that a round of CryoSieve's rule keeps (Zhu et al. 2023)."""
FIRST_CUTOFF_ANGSTROM = 40.0
ROUNDS_ACROSS = 2
SOFT = Select(rule="soft")
"""The rule by which comparisons weigh and select."""

Envelopes = Mapping[str, Floats32]
"""Those of the columns ``QUALITY`` of a subset that are known, ``(n,)`` each."""
EVEN: Envelopes = {}
"""All particles are alike."""


@dataclass(frozen=True)
class Run:
    """A finished run of the workflow, and what is known of its particles.

    ``results`` its folder; ``true_map`` None where there is none; ``correct``, ``half`` ``(n,)`` in the data set's
    order; ``folder`` for temporary files.
    """

    results: Path
    config: Config
    true_map: Path | None
    correct: Bools
    half: NDArray[np.int8]
    backend: Backend
    folder: Path

    @property
    def particles(self) -> Path:
        """The data set, its images found from any directory."""
        return self.folder / "particles.parquet"


def best(values: Floats, half: NDArray[np.int8], counts: dict[int, int]) -> Bools:
    """The ``counts[h]`` particles of half set h with the highest values, ``(n,)``."""
    kept = np.zeros(len(values), dtype=bool)
    for h, n in counts.items():
        rows = np.flatnonzero(half == h)
        kept[rows[np.argsort(-values[rows], kind="stable")[:n]]] = True
    return kept


def comparison_maps(
    run: Run, weights: Floats, selected: Bools, oracle: Floats | None, envelopes: Envelopes
) -> dict[str, Any]:
    """The last round's particles beside others of the same data.

    Parameters
    ----------
    weights, selected : (n,) of the last round; subsets "of the same size" have as many particles as it selects in each
        half set
    oracle : (n,) the best score that there is; None without a true map
    envelopes : those of the last round's particles, columns ``QUALITY``

    Returns
    -------
    dict of subset -> n, correct_rate and fsc_truth_area, the mean FSC with the truth over all shells (None without a
    true map); with a true map also fsc_truth_area_resolved, that over the shells where the FSC of the correct
    particles' map is at least ½, and :func:`beyond_truth`. ``scored_by_correct``: by what the function of that name
    gives, with its auc and correct_rate; ``across``: by :func:`scored_across`
    """
    n = len(weights)
    size = {h: int(np.count_nonzero(selected & (run.half == h))) for h in (1, 2)}
    aucs, likely = scored_by_correct(run, size)
    subsets: dict[str, Bools | Floats] = {
        "chosen": weights,
        "all": np.ones(n, dtype=bool),
        "random": best(np.random.default_rng(0).random(n), run.half, size),
        "correct": run.correct,
        "scored_by_correct": likely,
    }
    if oracle is not None:
        subsets["across"] = scored_across(run, weights)
        subsets |= {"oracle": best(oracle, run.half, size), "oracle_weights": probabilities(oracle, run.correct)}
    found = {
        name: measured(run, np.asarray(kept, dtype=np.float64), envelopes if name == "chosen" else {})
        for name, kept in subsets.items()
    }
    found["chosen"] |= summary(run, selected)
    curve = found["correct"]["fsc_truth"]
    resolved = None if curve is None else int(np.argmax(np.append(curve, 0.0) < 0.5))
    maps = {name: with_areas(values, resolved) for name, values in found.items()}
    return {**maps, "scored_by_correct": maps["scored_by_correct"] | aucs}


def probabilities(values: Floats, correct: Bools) -> Floats:
    """How likely each particle is correct by a score, ``(n,)``, fitted to the truth."""
    from sklearn.linear_model import LogisticRegression

    scaled = (values / values.std())[:, None]
    return np.asarray(LogisticRegression(C=1e6).fit(scaled, correct).predict_proba(scaled)[:, 1])


def scored_by_correct(run: Run, size: dict[int, int]) -> tuple[dict[str, Any], Floats]:
    """What the half maps of all correct particles say: where a run would end that had chosen every particle well.

    Returns
    -------
    AUC of the log odds and correct rate of the best ``size[h]``, and the weights ``(n,)`` by them
    """
    odds = odds_against(run, make_map(run, run.correct.astype(np.float64)))
    kept = best(odds, run.half, size)
    rate = round(float(run.correct[kept].mean()), 6)
    return {"auc": rounded_auc(odds, run.correct), "n": sum(size.values()), "correct_rate": rate}, weigh(odds)


def scored_across(run: Run, weights: Floats) -> Floats:
    """Weights ``(n,)`` after some rounds in which the map of the other half set scores, which is forbidden."""
    for _ in range(ROUNDS_ACROSS):
        maps = make_map(run, weights)
        (maps / "half1.mrc").rename(maps / "swapped.mrc")
        (maps / "half2.mrc").rename(maps / "half1.mrc")
        (maps / "swapped.mrc").rename(maps / "half2.mrc")
        write_no_share(maps / "sampling.npz", maps / "sampling.npz")
        weights = weigh(odds_against(run, maps))
    return weights


def odds_against(run: Run, maps: Path) -> Floats:
    """Log odds ``(n,)`` of being correct against half maps that :func:`make_map` made; 0 for all if they say
    nothing."""
    settings, seed, out = run.config.score, run.config.seed, run.folder / "scored.parquet"
    common: dict[str, Any] = {"symmetry": run.config.symmetry, "seed": seed, "backend": run.backend, "out": out}
    score(run.particles, maps, run.folder / "subset.parquet", settings=settings, round_number=0, **common)
    odds = log_odds(out)
    return np.zeros(len(run.correct)) if odds is None else np.nan_to_num(odds)


def log_odds(log: Path) -> Floats | None:
    """Log odds ``(n,)`` of being correct by what a log holds; None where it does not allow any."""
    odds = read_columns(log, [MIXTURE])[MIXTURE].astype(np.float64)
    return odds if np.isfinite(odds).any() else None


def weigh(odds: Floats) -> Floats:
    """Weights ``(n,)`` as the rule ``soft`` gives them."""
    return np.asarray(weights_of(posterior(odds), per_round(SOFT.value, 1)), dtype=np.float64)


def summary(run: Run, selected: Bools) -> dict[str, Any]:
    """How many particles are selected, and the share of them that is correct."""
    rate = round(float(run.correct[selected].mean()), 6) if selected.any() else None
    return {"n": int(selected.sum()), "correct_rate": rate}


def measured(run: Run, weights: Floats, envelopes: Envelopes = EVEN) -> dict[str, Any]:
    """The particles of a map that ``soft`` would select; the map's ``fsc_truth``, by shell, and ``beyond_truth``.

    Without a true map ``fsc_truth`` is None, and ``beyond_truth`` is not there.
    """
    found: dict[str, Any] = {**summary(run, RULES[SOFT.rule].selected(weights)), "fsc_truth": None}
    if run.true_map is not None:
        maps = make_map(run, weights, envelopes)
        found["fsc_truth"] = truth_map_metrics(maps, run.true_map)["fsc_truth"]
        found["beyond_truth"] = beyond_truth(maps, run.true_map)
    return found


def beyond_truth(maps: Path, true_map: Path) -> float:
    """How much better half maps agree than what either shares with the truth explains.

    Mean over shells of FSC(1, 2) - FSC(1, t) FSC(2, t), under the mask: 0 in the mean for independent noise.
    """
    mask, true = read_map(maps / "mask.mrc")[0], read_map(true_map)[0]
    one, two = (read_map(maps / f"half{h}.mrc")[0] * mask for h in (1, 2))
    shared = fsc(one, true * mask) * fsc(two, true * mask)
    return round(float(np.mean((fsc(one, two) - shared)[1:])), 6)


def with_areas(values: dict[str, Any], resolved: int | None = None) -> dict[str, Any]:
    """What was measured with the mean of the curve, over all shells and over those below ``resolved``, in its place."""
    curve = values.pop("fsc_truth")
    areas = {"fsc_truth_area": None if curve is None else round(float(np.mean(curve[1:])), 6)}
    if resolved is not None and resolved > 1:
        areas["fsc_truth_area_resolved"] = round(float(np.mean(curve[1:resolved])), 6)
    return {**values, **areas}


def make_map(run: Run, weights: Floats, envelopes: Envelopes = EVEN) -> Path:
    """Half maps and map of a subset under the run's mask, of particles with the columns ``QUALITY`` that are
    given; returns their folder, which the next call overwrites."""
    subset, out = run.folder / "subset.parquet", run.folder / "maps"
    out.mkdir(exist_ok=True)
    ids = read_table(run.particles, ["particle_id"]).column("particle_id")
    write_table(subset, pa.table({"particle_id": ids, "weight": weights.astype(np.float32), **envelopes}))
    settings = run.config.reconstruct.model_copy(update={"full_every": 1})
    common: dict[str, Any] = {"settings": settings, "symmetry": run.config.symmetry, "backend": run.backend}
    reconstruct(run.particles, subset, run.results / "round_0" / "mask.mrc", out_dir=out, **common)
    return out


def oracle_score(run: Run, true_map: Path) -> Floats:
    """Log-likelihood ratio of every particle's pose with the true map as the reference, ``(n,)``.

    The map is brought to the scale of the images by the particles that are correct. No particle is part of it.
    """
    folder = run.folder / "oracle"
    folder.mkdir(exist_ok=True)
    values, pixel = read_map(true_map)
    for name, map_ in (("half1", values), ("half2", values), ("mask", np.ones_like(values))):
        write_map(folder / f"{name}.mrc", map_, pixel)
    curves = FscCurves.read(run.results / "round_0" / "fsc.parquet")
    replace(curves, corrected=np.ones_like(curves.corrected)).write(folder / "fsc.parquet")
    write_no_share(folder / "sampling.npz", run.results / "round_0" / "sampling.npz")
    sums, coefficients, _ = band_sums(run, folder, None)
    scale = sums.c[run.correct].sum() / sums.e[run.correct].sum()
    c, e = scale * sums.c, scale**2 * sums.e
    sigma2 = (sums.a - 2 * c + e).mean(axis=0) / coefficients
    return np.asarray(((c - 0.5 * e) / sigma2).sum(axis=1))


def write_no_share(path: Path, like: Path) -> None:
    """The sampling of a map of which no particle is a part; its grid is that of ``like``."""
    with np.load(like, allow_pickle=False) as file:
        density = np.full_like(file["density"], NO_SHARE)
        np.savez(path, density=density, padding=file["padding"], last_shell=file["last_shell"])


def band_sums(run: Run, round_dir: Path, subset: Path | None) -> tuple[BandStatistics, Floats, NDArray[np.int32]]:
    """Band sums of all particles at their poses, coefficients per band and edges of the bands."""
    settings = Score(n_bands=64, n_random_poses=0, n_perturbed_poses=0, n_perturbed_shifts=0)
    data = Particles.read(run.particles)
    weights, selected = read_subset(subset, data)
    common: dict[str, Any] = {"symmetry": run.config.symmetry, "seed": run.config.seed, "backend": run.backend}
    scorer = Scorer.of(data, weights, round_dir, settings, round_number=0, **common)
    chunks = (np.arange(start, min(start + CHUNK, len(data))) for start in range(0, len(data), CHUNK))
    table = pa.concat_tables(scorer.table(data, rows, weights, selected=selected) for rows in chunks)
    about = scorer.metadata(data)
    columns = [table.column(name).combine_chunks().flatten().to_numpy() for name in BAND_COLUMNS]
    sums = BandStatistics(*(values.reshape(len(table), -1).astype(np.float64) for values in columns))
    return sums, np.maximum(np.array(about["coefficients"][0]), 1.0), np.array(about["band_edges"], dtype=np.int32)


def cryosieve_rule(
    run: Run, *, self_contribution: bool, progress: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """The rule of CryoSieve (Zhu et al. 2023) on the same data, written from its description; their program is not run.

    Every round drops a fifth of what is left of each half set, for good, by what subtracting the projection of the own
    half map removes from the image above a cut-off, which climbs from 40 Å in round 0 towards Nyquist after the last.
    A particle's rank is how long it stays, then its score in the round that dropped it.

    Parameters
    ----------
    self_contribution : a particle's share of its own prediction stays in, or is taken out as in cryocore's scores; with
        few particles and low SNR the result depends on it

    Returns
    -------
    dict of auc (of the rank), and for the map of each round n, correct_rate and fsc_truth_area
    """
    rank, subsets = cryosieve_ranks(run, self_contribution=self_contribution, progress=progress)
    rounds = [with_areas(measured(run, kept.astype(np.float64))) for kept in subsets]
    return {"auc": rounded_auc(rank, run.correct), "rounds": rounds}


def cryosieve_ranks(
    run: Run, *, self_contribution: bool, progress: Callable[[str], None] = lambda text: None
) -> tuple[Floats, list[Bools]]:
    """The rank of each particle ``(n,)`` by :func:`cryosieve_rule`, and what each round keeps."""
    n_rounds, data = run.config.n_rounds, Particles.read(run.particles)
    nyquist = 2.0 * data.reference_optics.pixel_size_angstrom
    cutoffs = 1.0 / np.linspace(1.0 / FIRST_CUTOFF_ANGSTROM, 1.0 / nyquist, n_rounds + 1)[:-1]
    kept, rank = np.ones(len(data), dtype=bool), np.zeros(len(data))
    subsets = []
    for number, cutoff in enumerate(cutoffs, start=1):
        progress(f"CryoSieve's rule, round {number} of {n_rounds}")
        values = _high_pass_score(run, data, kept, float(cutoff), self_contribution)
        order = np.argsort(np.argsort(values, kind="stable")) / len(values)
        rank[kept] = number + order[kept]
        counts = {h: round(RETAINED * np.count_nonzero(kept & (run.half == h))) for h in (1, 2)}
        kept = best(np.where(kept, values, -np.inf), run.half, counts)
        subsets.append(kept)
    return rank, subsets


def _high_pass_score(run: Run, data: Particles, kept: Bools, cutoff_angstrom: float, self_contribution: bool) -> Floats:
    """CryoSieve's score of all particles with a map of those that are kept."""
    maps = make_map(run, kept.astype(np.float64))
    if self_contribution:
        write_no_share(maps / "sampling.npz", maps / "sampling.npz")
    sums, _, edges = band_sums(run, maps, run.folder / "subset.parquet")
    return cryosieve(sums, first_band(edges, data, cutoff_angstrom))


def rounded_auc(values: NDArray[np.floating[Any]], correct: Bools, *, lower_is_better: bool = False) -> float | None:
    """AUC to six digits."""
    area = auc(values, correct, lower_is_better=lower_is_better)
    return None if area is None else round(area, 6)
