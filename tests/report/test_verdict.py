"""The words of the verdict."""

from __future__ import annotations

import pytest

from cryocore.report.verdict import recommended_sentence, verdict, warnings
from cryocore.validate.stopping import Stop

BASE = {
    "round": 0, "n_kept": 1000, "n_effective": 1000.0, "n_particles": 1000, "n_kept_half1": 500,
    "n_kept_half2": 500, "score": "dual",
    "n_unscored": 0, "resolution_angstrom": 8.0, "resolution_low_angstrom": 8.2, "resolution_high_angstrom": 7.8,
    "nyquist_angstrom": 4.0, "box": 64, "pixel_size_angstrom": 2.0,
    "correct_rate": 0.7, "auc": 0.9, "fsc_truth_area": 0.6, "fsc_area": 0.5, "error_rate": None,
    "half_map_agreement": 20.0, "uncovered_share": 0.0,
}  # fmt: skip


def sentences(last, *, n_rounds=1):
    return warnings([BASE, {**BASE, "round": 1, **last}], n_rounds=n_rounds)


@pytest.mark.parametrize(
    "last, others, expected",
    [
        ({}, {}, None),
        ({"resolution_angstrom": 7.0, "correct_rate": 0.95}, {}, None),
        (
            {"resolution_angstrom": 9.0, "resolution_low_angstrom": 9.1, "resolution_high_angstrom": 8.9},
            {},
            "Resolution got worse: 8.00 Å in round 0, 9.00 Å in round 1",
        ),
        ({"resolution_angstrom": 9.0, "resolution_low_angstrom": 9.1}, {}, "flat near 0.143"),
        ({"resolution_angstrom": 4.05}, {}, "Nyquist"),
        ({"resolution_low_angstrom": 9.0}, {}, "runs flat near 0.143: with its errors, 9.00 to 7.80 Å"),
        ({"correct_rate": 0.6}, {}, "correct less often"),
        ({"auc": 0.55}, {}, "hardly tells"),
        ({"fsc_truth_area": 0.5}, {}, "moved away from the true one: FSC area 0.600 → 0.500"),
        ({"n_kept_half1": 800, "n_kept_half2": 200}, {}, "uneven: 800 and 200"),
        ({"uncovered_share": 0.1}, {}, "leaves out most of what the particles say of 10 % of the directions"),
        ({"n_unscored": 3}, {}, "3 particles have no dual score"),
        ({}, {"n_rounds": 4}, "asks for 4 rounds"),
        ({"correct_rate": None, "auc": None, "fsc_truth_area": None}, {}, None),
    ],
)
def test_warnings(last, others, expected):
    found = sentences(last, **others)
    if expected is None:
        assert found == []
    else:
        assert len(found) == 1 and expected in found[0]


RATE = {"value": 0.1, "low": 0.08, "high": 0.12, "second_opinion": 0.1, "method": "mixture", "note": ""}


@pytest.mark.parametrize(
    "kept, rate, expected",
    [
        (900, RATE, None),
        (700, RATE, "drops 30 % of the particles, where 10 % (8 to 12) are estimated to be incorrect"),
        (900, {**RATE, "note": "the model does not fit"}, "The error rate is doubtful: the model does not fit."),
    ],
)
def test_more_is_dropped_than_is_wrong(kept, rate, expected):
    rounds = [{**BASE, "error_rate": rate}, {**BASE, "round": 1, "n_kept": kept, "n_effective": float(kept)}]
    found = warnings(rounds, n_rounds=1)
    assert (found == []) if expected is None else (len(found) == 1 and expected in found[0])


def test_half_maps_that_agree_by_chance_come_first():
    noise = [{**BASE, "half_map_agreement": 1.2}, {**BASE, "round": 1, "auc": 0.5, "half_map_agreement": 3.0}]
    first, second = warnings(noise, n_rounds=1)
    assert first.startswith("No signal is found: the half maps of all particles agree no better than those of noise")
    assert warnings([BASE, {**BASE, "round": 1, "auc": 0.5}], n_rounds=1) == [second]


def test_signal_of_a_few_particles_is_found_among_noise():
    few = [{**BASE, "half_map_agreement": 1.2}, {**BASE, "round": 1, "half_map_agreement": 12.0}]
    (sentence,) = warnings(few, n_rounds=1)
    assert sentence.startswith("Most particles show no signal") and "those of round 1 do (12.0)" in sentence


def test_a_short_list_is_no_loss_where_the_map_counts_the_others():
    rounds = [{**BASE, "error_rate": RATE}, {**BASE, "round": 1, "n_kept": 250, "n_effective": 970.0}]
    assert warnings(rounds, n_rounds=1) == []


def test_an_earlier_round_was_better():
    best = {**BASE, "round": 1, "resolution_angstrom": 6.0, "fsc_area": 0.52}
    rounds = [BASE, best, {**BASE, "round": 2, "resolution_angstrom": 7.9}]
    found = warnings(rounds, n_rounds=2)
    assert len(found) == 1 and "Round 1 reached 6.00 Å" in found[0]
    rounds[1]["fsc_area"] = 0.49
    assert warnings(rounds, n_rounds=2) == [], "one shell by chance"


def test_a_map_of_more_than_the_list_is_pointed_out():
    stop = Stop(recommended=0, best=0, comparisons=())
    assert recommended_sentence([BASE], stop).startswith(
        "Recommended subset: round 0, 1,000 particles (100 %). Its half-map"
    )
    weighed = recommended_sentence([{**BASE, "n_kept": 250, "n_effective": 970.0}], stop)
    assert "250 particles (25 %; the map weighs particles and is worth 970 equal ones)" in weighed


def test_verdict():
    last = {**BASE, "n_kept": 680, "resolution_angstrom": 7.25, "correct_rate": 0.985, "auc": 0.97}
    sentence = "Kept 680 of 1,000 particles (68 %); resolution 8.00 → 7.25 Å; correct rate 70.0 → 98.5 %; AUC 0.970."
    assert verdict(BASE, last).replace("\xa0", " ") == sentence
    blind = {**last, "correct_rate": None, "auc": None}
    assert verdict(BASE, blind).replace("\xa0", " ") == "Kept 680 of 1,000 particles (68 %); resolution 8.00 → 7.25 Å."


@pytest.mark.parametrize("value, low, begins", [(0.004, 0.0, True), (0.03, 0.0, False), (0.008, 0.002, False)])
def test_a_run_that_needs_to_remove_nothing_says_so_first(value, low, begins):
    rate = {"value": value, "low": low, "high": 0.02, "second_opinion": 0.0, "method": "mixture", "note": ""}
    rounds = [BASE, {**BASE, "round": 1, "error_rate": rate}]
    found = recommended_sentence(rounds, Stop(best=0, recommended=0, comparisons=()))
    assert found.startswith("Nothing needs to be removed: 0.4 % of the particles (at most 2.0 %)") == begins
    assert "Recommended subset: round 0" in found
