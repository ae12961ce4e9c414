"""What the numbers of a run mean, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryocore.validate.stopping import NEGLIGIBLE_AREA, Stop

Metrics = dict[str, Any]

UNEVEN_SHARE = 0.05
CHANCE_AUC = 0.6
AREA_LOSS = 0.005
DROPPED_MARGIN = 0.02
FEW_INCORRECT = 0.01
"""Estimated share of incorrect particles up to which none needs to be removed, if the interval reaches 0."""
FLAT = 1.1
"""Ratio of the coarsest to the finest resolution within the FSC's errors, from which on the number means little."""
UNCOVERED_SHARE = 0.05
"""Share of the directions that a list may leave out."""
LEAST_AGREEMENT = 4.0
"""Standard errors by which the FSC of half maps lies above chance, at least, if there is a signal."""
CERTAIN_AGREEMENT = 8.0
"""Of the half maps of a later round, from which on its particles show signal where all of them do not."""
UNLIKE_LIST = 0.05
"""Difference of the effective number of particles from that of the list, from which on both are named."""


def verdict(first: Metrics, last: Metrics) -> str:
    """One sentence that breaks only between its parts: kept, resolution, correct rate and AUC, before and after."""
    share = 100 * last["n_kept"] / last["n_particles"]
    parts = [
        f"Kept {last['n_kept']:,} of {last['n_particles']:,} particles ({share:.0f} %)",
        f"resolution {first['resolution_angstrom']:.2f} → {last['resolution_angstrom']:.2f} Å",
    ]
    if last["correct_rate"] is not None and first["correct_rate"] is not None:
        parts.append(f"correct rate {100 * first['correct_rate']:.1f} → {100 * last['correct_rate']:.1f} %")
    if last["auc"] is not None:
        parts.append(f"AUC {last['auc']:.3f}")
    return "; ".join(part.replace(" ", "\u00a0") for part in parts) + "."


def recommended_sentence(rounds: Sequence[Metrics], stop: Stop) -> str:
    """Whether anything needs to be removed, which round to stop at, and how it compares with the best."""
    return _nothing_to_remove(rounds[-1]["error_rate"]) + _which_round(rounds, stop) + _unchanged(rounds)


def _nothing_to_remove(rate: dict[str, Any] | None) -> str:
    """A first sentence where the scores find no incorrect particles; else nothing."""
    if rate is None or rate["method"] != "mixture" or rate["low"] > 0.0 or rate["value"] > FEW_INCORRECT:
        return ""
    value, high = 100 * rate["value"], 100 * rate["high"]
    found = f"{value:.1f} % of the particles (at most {high:.1f} %) are estimated to be incorrect"
    return f"Nothing needs to be removed: {found}. "


def _unchanged(rounds: Sequence[Metrics]) -> str:
    """Which rounds are as the one before them; nothing where none is."""
    same = [m for m in rounds if m.get("unchanged_since") is not None]
    if not same:
        return ""
    numbers = " and ".join(str(m["round"]) for m in same)
    are = f"Round {numbers} is" if len(same) == 1 else f"Rounds {numbers} are"
    return f" {are} as the one before: the weights hardly change (select.tolerance)."


def _which_round(rounds: Sequence[Metrics], stop: Stop) -> str:
    recommended, best = rounds[stop.recommended], rounds[stop.best]
    share = 100 * recommended["n_kept"] / recommended["n_particles"]
    images = f" of {recommended['n_kept_images']:,} images" if "n_kept_images" in recommended else ""
    listed = recommended["n_kept_images"] if images else recommended["n_kept"]
    unlike = abs(recommended["n_effective"] - listed) > UNLIKE_LIST * listed
    worth = f"; the map weighs particles and is worth {recommended['n_effective']:,.0f} equal ones" if unlike else ""
    subject = (
        f"Recommended subset: round {recommended['round']}, {recommended['n_kept']:,} particles{images} "
        f"({share:.0f} %{worth})"
    )
    if stop.recommended == stop.best:
        return f"{subject}. Its half-map FSC has the largest area of all rounds."
    c = stop.comparisons[stop.recommended]
    equal = abs(c.area) < NEGLIGIBLE_AREA
    difference = "the same area" if equal else f"difference of the area {c.area:+.4f} ± {c.area_sd:.4f}"
    return (
        f"{subject}: the smallest by effective number whose half-map FSC is nowhere significantly below that "
        f"of round {best['round']}, the best ({difference})."
    )


def warnings(rounds: Sequence[Metrics], *, n_rounds: int) -> list[str]:
    """Everything in a run that its reader should look at before believing it."""
    first, last = rounds[0], rounds[-1]
    found = [
        *_noise_warnings(rounds),
        *_resolution_warnings(rounds),
        *_truth_warnings(first, last),
        *_half_set_warnings(last),
        *_error_rate_warnings(rounds),
        *_view_warnings(last),
    ]
    if last["n_unscored"]:
        found.append(f"{last['n_unscored']:,} particles have no {last['score']} score in round {last['round']}.")
    if last["round"] < n_rounds:
        found.append(f"The run asks for {n_rounds} rounds; this report ends at round {last['round']}.")
    return found


def _noise_warnings(rounds: Sequence[Metrics]) -> list[str]:
    agreement = rounds[0]["half_map_agreement"]
    if agreement is None or agreement >= LEAST_AGREEMENT:
        return []
    later = max(rounds, key=lambda m: m["half_map_agreement"] or 0.0)
    if later["half_map_agreement"] >= CERTAIN_AGREEMENT:
        return [
            "Most particles show no signal: the half maps of all of them agree no better than those of noise "
            f"({agreement:.1f} standard errors above chance), those of round {later['round']} do "
            f"({later['half_map_agreement']:.1f}). Look at what most images hold."
        ]
    return [
        "No signal is found: the half maps of all particles agree no better than those of noise "
        f"({agreement:.1f} standard errors above chance), and nothing else in this report can be relied on."
    ]


def _view_warnings(last: Metrics) -> list[str]:
    left_out = last["uncovered_share"]
    if left_out is None or left_out <= UNCOVERED_SHARE:
        return []
    return [
        f"The list of round {last['round']} leaves out most of what the particles say of {100 * left_out:.0f} % of the "
        "directions of Fourier space, those of rare views: a map of the listed particles alone is worse there than "
        "this run's."
    ]


def _resolution_warnings(rounds: Sequence[Metrics]) -> list[str]:
    first, last = rounds[0], rounds[-1]
    shell = 1.0 / (last["box"] * last["pixel_size_angstrom"])
    fineness = [1.0 / m["resolution_angstrom"] for m in rounds]
    found = []
    low, high = last["resolution_low_angstrom"], last["resolution_high_angstrom"]
    coarser = fineness[-1] < fineness[0] - 0.5 * shell and first["resolution_angstrom"] < high
    if coarser and last["fsc_area"] <= first["fsc_area"]:
        found.append(
            f"Resolution got worse: {first['resolution_angstrom']:.2f} Å in round {first['round']}, "
            f"{last['resolution_angstrom']:.2f} Å in round {last['round']}. Keep more particles."
        )
    if low > FLAT * high:
        found.append(
            f"The FSC runs flat near 0.143: with its errors, {low:.2f} to {high:.2f} Å are the same resolution. "
            "Compare curves and areas instead."
        )
    best = fineness.index(max(fineness))
    better = fineness[best] > fineness[-1] + shell and rounds[best]["fsc_area"] > last["fsc_area"]
    if best not in (0, len(rounds) - 1) and better:
        found.append(
            f"Round {rounds[best]['round']} reached {rounds[best]['resolution_angstrom']:.2f} Å, finer than the last "
            "round by more than a shell: it may be the better place to stop."
        )
    if last["resolution_angstrom"] > 0.99 / shell:
        found.append("The half maps agree at no resolution (FSC below 0.143 throughout): the scores mean little.")
    if last["resolution_angstrom"] < 1.02 * last["nyquist_angstrom"]:
        found.append("The resolution is that of the pixel grid (Nyquist): smaller pixels may show more.")
    return found


def _truth_warnings(first: Metrics, last: Metrics) -> list[str]:
    found = []
    if (
        last["correct_rate"] is not None
        and first["correct_rate"] is not None
        and last["correct_rate"] < first["correct_rate"]
    ):
        found.append("The kept particles are correct less often than all particles: the score misleads the selection.")
    if last["auc"] is not None and last["auc"] < CHANCE_AUC:
        found.append(f"The score hardly tells correct from incorrect particles (AUC {last['auc']:.2f}; 0.5 is chance).")
    areas = first["fsc_truth_area"], last["fsc_truth_area"]
    if None not in areas and areas[1] < areas[0] - AREA_LOSS:
        found.append(f"The map moved away from the true one: FSC area {areas[0]:.3f} → {areas[1]:.3f}.")
    return found


def _half_set_warnings(last: Metrics) -> list[str]:
    one, two = last["n_kept_half1"], last["n_kept_half2"]
    if abs(one - two) <= max(UNEVEN_SHARE * (one + two), 3.0 * (one + two) ** 0.5):
        return []
    return [f"The half sets are uneven: {one:,} and {two:,} particles. The FSC suits the smaller one."]


def _error_rate_warnings(rounds: Sequence[Metrics]) -> list[str]:
    """Where the last selection drops more than is estimated to be incorrect, or the estimate is doubtful."""
    assessed, last = rounds[max(len(rounds) - 2, 0)], rounds[-1]
    rate = assessed["error_rate"]
    if rate is None:
        return []
    found = [f"The error rate is doubtful: {rate['note']}."] if rate["note"] else []
    dropped = 1.0 - max(last["n_kept"], last["n_effective"]) / last["n_particles"]
    if rate["high"] is not None and dropped > rate["high"] + DROPPED_MARGIN:
        found.append(
            f"Round {last['round']} drops {100 * dropped:.0f} % of the particles, where {100 * rate['value']:.0f} % "
            f"({100 * rate['low']:.0f} to {100 * rate['high']:.0f}) are estimated to be incorrect: correct ones "
            "are lost."
        )
    return found
