"""Training particles: what is planted, maps that lack it, and who learns from whom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.fft

from cryocore.classify.ensemble import Folds, fit_ensemble, probability
from cryocore.classify.examples import Examples, Pictures
from cryocore.classify.planted import plant_errors, training_rows, without
from cryocore.classify.rounds import ScoredRound
from cryocore.classify.training_set import TrainingSet, make_training_set
from cryocore.config.classify import Classify
from cryocore.config.plant import PlantedErrors
from cryocore.errors import InputError
from cryocore.formats.stacks import StackReader
from cryocore.geometry.rotations import angular_distance_deg
from cryocore.log.rates import auc

ERRORS = PlantedErrors(wrong_pose=0.2, local_pose=0.1, wrong_shift=0.05, junk=0.05)
SETTINGS = Classify(model="logistic", n_training=60, image_size=16)


@pytest.fixture(scope="module")
def training_set(scored: ScoredRound) -> TrainingSet:
    return make_training_set(scored, SETTINGS)


def test_training_sets_are_drawn_by_id_and_leave_the_maps_most_particles(scored: ScoredRound) -> None:
    rows = training_rows(scored.data, scored.weights, 60, seed=0)
    half = scored.data.column("half")[rows]
    assert np.bincount(half).tolist() == [0, 60, 60]
    order = np.random.default_rng(0).permutation(len(scored.data))
    shuffled = training_rows(scored.data.take(order), scored.weights, 60, seed=0)
    assert set(scored.data.ids[order][shuffled]) == set(scored.data.ids[rows])
    assert len(training_rows(scored.data, scored.weights, 10**6, seed=0)) <= 0.25 * len(scored.data)


def test_errors_are_planted_by_their_shares_and_nowhere_else(scored: ScoredRound) -> None:
    rows = np.arange(0, 400, 2)
    planted = plant_errors(scored.data, rows, ERRORS, seed=1)
    counts = {kind: int((planted.kinds == kind).sum()) for kind in ("wrong_pose", "local_pose", "wrong_shift", "junk")}
    assert counts == {"wrong_pose": 100, "local_pose": 50, "wrong_shift": 25, "junk": 25}
    others = np.setdiff1d(np.arange(len(scored.data)), rows)
    assert planted.particles.take(others).table.equals(scored.data.take(others).table)
    turned = angular_distance_deg(planted.particles.rotations[rows], scored.data.rotations[rows])
    moved = np.linalg.norm(planted.particles.shifts_angstrom[rows] - scored.data.shifts_angstrom[rows], axis=1)
    local = turned[planted.kinds == "local_pose"]
    assert local.min() >= 5 - 1e-6
    assert local.max() <= 20 + 1e-6
    assert np.median(turned[planted.kinds == "wrong_pose"]) > 90
    assert moved[planted.kinds == "wrong_shift"].min() >= 10 - 1e-6
    assert moved[planted.kinds != "wrong_shift"].max() == 0
    assert turned[np.isin(planted.kinds, ("wrong_shift", "junk"))].max() < 1e-3


def test_junk_is_noise_of_the_same_power(scored: ScoredRound) -> None:
    rows = np.arange(20)
    planted = plant_errors(scored.data, rows, PlantedErrors(junk=1.0), seed=1)
    source = planted.scorer(scored.scorer, seed=0).comparison.source
    with StackReader(scored.data) as plain, source(planted.particles) as reader:
        before, after, again = plain.read(np.arange(40)), reader.read(np.arange(40)), reader.read(np.arange(40))
    np.testing.assert_array_equal(after, again)
    np.testing.assert_array_equal(after[20:], before[20:])
    one, two = (np.abs(scipy.fft.rfft2(v[:20])) for v in (before, after))
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-2)
    assert max(abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in zip(before[:20], after[:20], strict=True)) < 0.3


def test_maps_of_training_sets_lack_them(scored: ScoredRound) -> None:
    """A particle's inner product with its own half map falls by its share; without that, nothing changes."""
    rows = training_rows(scored.data, scored.weights, 60, seed=0)
    apart = without(scored.scorer, scored.data, scored.weights, rows, scored.directory)
    none = without(scored.scorer, scored.data, scored.weights, rows[:0], scored.directory)
    nothing = np.zeros(len(scored.data), dtype=np.float32)
    tables = [s.table(scored.data, rows, nothing) for s in (scored.scorer, none, apart)]
    inner = [np.stack(t.column("inner_product").to_numpy(zero_copy_only=False)).sum(axis=1).mean() for t in tables]
    assert inner[1] == pytest.approx(inner[0], rel=0.01)
    assert inner[2] < 0.95 * inner[1]


def test_planted_training_sets_tell_the_true_errors(scored: ScoredRound, training_set: TrainingSet) -> None:
    half = len(training_set.correct) // 2
    assert training_set.correct.sum() == half
    assert np.array_equal(training_set.examples.ids[:half], training_set.examples.ids[half:])
    assert set(training_set.kinds[half:]) == {"wrong_pose", "local_pose", "wrong_shift", "junk"}
    assert np.isfinite(training_set.examples.features).all()
    column = training_set.examples.names.index("zc")
    area = auc(training_set.examples.features[:, column].astype(float), training_set.correct)
    assert area is not None
    assert area > 0.75


def test_probable_training_sets_are_the_best_and_all(scored: ScoredRound) -> None:
    found = make_training_set(scored, SETTINGS.model_copy(update={"labels": "probable"}))
    chosen = np.isin(scored.data.ids, found.examples.ids[found.correct])
    assert scored.likely[chosen].min() > 0.9
    assert (~found.correct).sum() == 120
    doubtful = replace(scored, likely=np.zeros(len(scored.data)))
    with pytest.raises(InputError, match="Use planted"):
        make_training_set(doubtful, SETTINGS.model_copy(update={"labels": "probable"}))


def made_up(n: int, seed: int = 0) -> TrainingSet:
    """Two Gaussian classes in one feature, in 30 micrographs."""
    rng = np.random.default_rng(seed)
    correct = rng.random(n) < 0.5
    features = np.stack([rng.normal(correct * 2.0), rng.normal(size=n)], axis=1).astype(np.float32)
    examples = Examples(
        ids=rng.integers(0, 2**63, n).astype(np.uint64),
        half=(1 + rng.integers(0, 2, n)).astype(np.int8),
        micrograph=np.char.add("m", rng.integers(0, 30, n).astype(str)),
        names=("mixture", "other"),
        features=features,
        pictures=Pictures(np.zeros((n, 2, 4, 4), dtype=np.float16)),
    )
    return TrainingSet(examples, correct, np.ones(n, dtype=np.float32), np.where(correct, "none", "incorrect"))


@pytest.mark.parametrize("kind", ["logistic", "boosting"])
def test_log_odds_of_known_classes(kind: str) -> None:
    training_set = made_up(1000)
    folds = Folds.of(training_set.examples.micrograph, 4, seed=0)
    ensemble = fit_ensemble(kind, training_set, folds, Classify(model=kind), seed=0)
    expected = 2.0 * training_set.examples.features[:, 0] - 2.0
    found = ensemble.log_odds(training_set.examples)
    central = np.abs(expected) < 2.0
    assert np.abs(found - expected)[central].mean() < (0.25 if kind == "logistic" else 0.7)


def test_half_sets_learn_nothing_of_each_other() -> None:
    training_set = made_up(1000)
    folds = Folds.of(training_set.examples.micrograph, 3, seed=0)
    first = training_set.examples.half == 1
    flipped = replace(training_set, correct=np.where(first, training_set.correct, ~training_set.correct))
    given = folds, Classify(model="logistic")
    one, two = (
        fit_ensemble("logistic", v, *given, seed=0).log_odds(training_set.examples) for v in (training_set, flipped)
    )
    np.testing.assert_array_equal(one[first], two[first])
    assert np.abs(one[~first] - two[~first]).min() > 0


def test_no_particle_is_scored_by_a_model_that_saw_its_micrograph() -> None:
    training_set = made_up(1000)
    folds = Folds.of(training_set.examples.micrograph, 3, seed=0)
    name = training_set.examples.micrograph[0]
    of_it = training_set.examples.micrograph == name
    changed = replace(training_set, correct=np.where(of_it, ~training_set.correct, training_set.correct))
    raw = []
    for version in (training_set, changed):
        ensemble = fit_ensemble("logistic", version, folds, Classify(model="logistic"), seed=0)
        raw.append(replace(ensemble, scale={1: (1.0, 0.0), 2: (1.0, 0.0)}).log_odds(training_set.examples))
    np.testing.assert_array_equal(raw[0][of_it], raw[1][of_it])
    sizes = np.bincount(folds(training_set.examples))
    assert sizes.max() - sizes.min() < 60


def test_few_micrographs_are_said_and_split(caplog: pytest.LogCaptureFixture) -> None:
    training_set = made_up(300)
    folds = Folds.of(np.full(300, "one"), 3, seed=0)
    assert "split one by one" in caplog.text
    assert np.bincount(folds(training_set.examples)).min() > 60


@pytest.mark.parametrize("labels", ["truth", "probable"])
def test_probabilities_are_calibrated(labels: str) -> None:
    """Classes are drawn from known densities, and the learned ratio is exact."""
    rng = np.random.default_rng(0)
    correct = rng.random(200_000) < 0.7
    value = rng.normal(np.where(correct, 1.5, 0.0))
    density = {flag: np.exp(-0.5 * (value - centre) ** 2) for flag, centre in ((True, 1.5), (False, 0.0))}
    asis = 0.7 * density[True] + 0.3 * density[False]
    ratio = density[True] / (density[False] if labels == "truth" else asis)
    found = probability(np.log(ratio), labels, 0.3)
    for low in np.arange(0.1, 0.9, 0.2):
        members = (found > low) & (found < low + 0.2)
        assert abs(correct[members].mean() - found[members].mean()) < 0.02
    assert found.max() <= 1.0


def test_a_class_without_examples_is_refused() -> None:
    training_set = made_up(300)
    folds = Folds.of(training_set.examples.micrograph, 3, seed=0)
    nobody = replace(training_set, correct=np.ones(300, dtype=bool))
    with pytest.raises(InputError, match="no example that is incorrect"):
        fit_ensemble("logistic", nobody, folds, Classify(model="logistic"), seed=0)
