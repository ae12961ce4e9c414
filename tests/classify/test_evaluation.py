"""Figures of merit against scikit-learn, intervals against repeated draws, and what the card says of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import metrics

from cryocore.classify import evaluation
from cryocore.classify.card import limits_of, write_card
from cryocore.classify.evaluation import compare, evaluate
from cryocore.classify.evaluation_figures import evaluation_figures
from cryocore.errors import InputError


def particles(seed, n=600, n_groups=40, gain=1.5, calibrated=True):
    """Probabilities of a normal score, correct ``gain`` s.d. above incorrect; truth, micrographs and kinds."""
    random = np.random.default_rng(seed)
    label = random.random(n) < 0.5
    score = gain * label + random.normal(size=n)
    odds = gain * (score - gain / 2) * (1.0 if calibrated else 4.0)
    groups = np.array([f"m{g}" for g in random.integers(n_groups, size=n)])
    kinds = np.where(label, "", np.where(random.random(n) < 0.9, "pose", "junk"))
    return 1.0 / (1.0 + np.exp(-odds)), label, groups, kinds


def test_values_are_those_of_scikit_learn():
    probability, label, groups, kinds = particles(0)
    found = evaluate(probability, label, groups=groups, kinds=kinds, seed=0)
    called = probability > 0.5
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(label, called))
    assert found.balanced_accuracy.value == pytest.approx(metrics.balanced_accuracy_score(label, called))
    assert found.kappa.value == pytest.approx(metrics.cohen_kappa_score(label, called))
    assert found.auc.value == pytest.approx(metrics.roc_auc_score(label, probability))
    assert found.brier.value == pytest.approx(metrics.brier_score_loss(label, probability))
    assert np.array_equal(found.confusion, metrics.confusion_matrix(label, called))
    assert found.resampled == "groups" and found.n_groups == 40 and found.n_correct == label.sum()
    junk = label | (kinds == "junk")
    assert found.kinds["junk"].auc.value == pytest.approx(metrics.roc_auc_score(label[junk], probability[junk]))
    assert found.kinds["junk"].n == (kinds == "junk").sum()
    for estimate in (found.accuracy, found.auc, found.kappa, found.brier, found.kinds["pose"].auc):
        assert estimate.low < estimate.value < estimate.high
    assert evaluate(probability, label, groups=groups, kinds=kinds, seed=0) == found


def test_the_area_by_levels_is_nearly_that_of_all_pairs():
    random = np.random.default_rng(0)
    label = random.random(20_000) < 0.3
    score = random.normal(size=20_000) + label
    weight = random.integers(4, size=20_000).astype(float)
    expected = metrics.roc_auc_score(label, score, sample_weight=weight)
    assert evaluation.Area(score, label)(weight) == pytest.approx(expected, abs=1e-5)


def test_calibration_tells_a_true_probability_from_a_bold_one():
    honest = evaluate(*particles(1)[:2], groups=particles(1)[2], seed=0)
    bold = evaluate(*particles(1, calibrated=False)[:2], groups=particles(1)[2], seed=0)
    assert honest.calibration_error.value < 2 * honest.calibration_by_chance
    assert bold.calibration_error.low > bold.calibration_by_chance + 0.02
    assert bold.auc == honest.auc
    counts = [b.n for b in honest.reliability]
    assert sum(counts) == honest.n
    full = [b for b in honest.reliability if b.n]
    by_hand = sum(b.n * abs(b.probability - b.share) for b in full) / honest.n
    assert honest.calibration_error.value == pytest.approx(by_hand)


def test_intervals_hold_the_truth_about_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr(evaluation, "RESAMPLES", 150)
    truth = norm.cdf(1.5 / np.sqrt(2))
    found = [evaluate(p, y, groups=g, seed=s).auc for s in range(60) for p, y, g, _ in [particles(s, n=300)]]
    assert 51 <= sum(e.low <= truth <= e.high for e in found) <= 60


def test_particles_of_few_micrographs_are_drawn_one_by_one_and_dependent_groups_widen():
    probability, label, groups, _ = particles(2, n_groups=5)
    assert evaluate(probability, label, groups=groups, seed=0).resampled == "particles"
    eight_times = [np.repeat(v, 8) for v in particles(3, n=100)[:2]]
    alone = evaluate(*eight_times, groups=np.arange(800), seed=0).auc
    together = evaluate(*eight_times, groups=np.arange(800) // 8, seed=0).auc
    assert 2.2 < (together.high - together.low) / (alone.high - alone.low) < 3.6  # sqrt(8)


def test_the_classifier_is_set_beside_each_score_on_the_same_particles():
    probability, label, groups, _ = particles(4, gain=2.0)
    random = np.random.default_rng(5)
    scores = {
        "plain_loss": -(1.0 * label + random.normal(size=len(label))),
        "z": np.where(random.random(len(label)) < 0.5, probability, np.nan),
        "empty": np.full(len(label), np.nan),
    }
    found = compare(probability, scores, label, groups, seed=0)
    assert set(found.gain) == {"plain_loss", "z"} and found.best == "z" and found.n["z"] < found.n["probability"]
    assert found.auc["plain_loss"].value == pytest.approx(metrics.roc_auc_score(label, -scores["plain_loss"]))
    gain = found.gain["plain_loss"]
    assert gain.value == pytest.approx(found.auc["probability"].value - found.auc["plain_loss"].value)
    assert gain.low > 0.05
    assert (found.gain["z"].value, found.gain["z"].low, found.gain["z"].high) == (0, 0, 0)
    assert found.gain_over_best.high <= 0.0


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"label": np.ones(4, bool)}, "correct and incorrect"),
        ({"probability": np.array([0.1, np.nan, 0.3, 0.2])}, "from 0 to 1"),
        ({"groups": np.arange(3)}, "differ in number"),
    ],
)
def test_what_cannot_be_scored_is_refused(change, problem):
    given = {"probability": np.array([0.1, 0.9, 0.3, 0.2]), "label": np.arange(4) > 1, "groups": np.arange(4)} | change
    with pytest.raises(InputError, match=problem):
        evaluate(given["probability"], given["label"], groups=given["groups"], seed=0)


def test_the_card_tells_data_figures_and_limits(tmp_path):
    probability, label, groups, kinds = particles(6, calibrated=False)
    kinds[kinds == "junk"] = "near"
    near = kinds == "near"
    probability[near] = np.quantile(probability[label], np.linspace(0, 1, near.sum()))  # as if correct
    found = evaluate(probability, label, groups=groups, kinds=kinds, seed=0)
    beside = compare(probability, {"z": probability + 0.0, "plain_loss": 1.0 * ~label}, label, groups, seed=0)
    about = {
        "name": "Network",
        "purpose": "Tells correct particles from incorrect ones.",
        "split": "By micrograph.",
        "data": {"molecules": ["channel"], "planted": True, "n": 600, "share_by_kind": {"pose": 0.45, "near": 0.05}},
    }
    write_card(tmp_path, about=about, evaluation=found, comparison=beside, figures=evaluation_figures(found, beside))
    kept = json.loads((tmp_path / "card.json").read_text())
    assert kept["evaluation"]["auc"]["value"] == found.auc.value and kept["about"]["data"]["n"] == 600
    limits = " ".join(kept["limits"])
    parts = "600 particles only", "one molecule (channel)", "planted", "does not tell near", "off by", "plain_loss"
    for part in parts:
        assert part in limits
    text = (tmp_path / "card.md").read_text()
    assert f"| AUC | {found.auc} |" in text and "share by kind: pose" in text and "- Scored on" in text
    for name in ("confusion", "reliability", "comparison"):
        assert f"]({name}.png)" in text and (tmp_path / f"{name}.png").stat().st_size > 5000


def test_no_error_seen_is_no_proof_of_none():
    label = np.arange(400) % 2 == 0
    found = evaluate(np.where(label, 0.99, 0.01), label, groups=np.arange(400), seed=0)
    assert found.accuracy.low == 1.0
    assert any("0.75%" in limit for limit in limits_of({}, found, None))
