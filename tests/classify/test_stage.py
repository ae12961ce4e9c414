"""From a round's scores to its scores with a probability; models for other data sets; features."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression

from cryocore.backend import get_backend
from cryocore.classify import classify
from cryocore.classify.example_images import ExampleImages
from cryocore.classify.examples import columns_of
from cryocore.classify.features import GROUPS, log_features
from cryocore.classify.models import load_model
from cryocore.classify.results import EXAMPLES
from cryocore.classify.rounds import ScoredRound
from cryocore.classify.train import train
from cryocore.config.classify import Classify
from cryocore.config.run import Config, parse_config
from cryocore.errors import InputError
from cryocore.log.rates import auc
from cryocore.log.rounds import open_round
from cryocore.report.classifier import classifier_section
from cryocore.select.choose import choose, columns_needed
from cryocore.tables.io import table_metadata

SETTINGS = Classify(model="logistic", n_training=60, image_size=16)


def classified(folder: Path, out: Path, **options: Any) -> None:
    files = folder / "particles.parquet", folder / "scores.parquet", folder / "round", None
    given: dict[str, Any] = {"settings": SETTINGS, "symmetry": "C1", "seed": 0, "backend": get_backend("cpu")}
    classify(*files, **{**given, **options}, out_table=out / "probability.parquet", out_dir=out / "classifier")


@pytest.fixture(scope="module")
def out(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    classified(folder, out)
    return out


@pytest.fixture(scope="module")
def correct(folder: Path) -> np.ndarray:
    return pq.read_table(folder / "truth.parquet").column("is_correct").to_numpy()


def test_probability_stands_beside_the_log(folder: Path, out: Path, correct: np.ndarray) -> None:
    before, after = pq.read_table(folder / "scores.parquet"), pq.read_table(out / "probability.parquet")
    assert after.column_names == ["particle_id", "probability"]
    assert after["particle_id"].equals(before["particle_id"])
    assert table_metadata(after.schema)["classifier"]["kind"] == "logistic"
    found = after.column("probability").to_numpy()
    assert found.min() >= 0
    assert found.max() <= 1
    area, plain = auc(found, correct), auc(before.column("l2_loss").to_numpy(), correct, lower_is_better=True)
    assert area is not None
    assert plain is not None
    assert area > max(0.95, plain + 0.1)
    assert abs(found.mean() - correct.mean()) < 0.08


def test_the_same_seed_gives_the_same_bytes(folder: Path, out: Path, tmp_path: Path) -> None:
    classified(folder, tmp_path)
    for name in ("probability.parquet", "classifier/card.json", "classifier/comparison.png", f"classifier/{EXAMPLES}"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name


def test_the_rule_reads_it(folder: Path, out: Path) -> None:
    table = open_round(folder / "scores.parquet", beside=[out / "probability.parquet"])
    settings = parse_config({"classify": {"model": "logistic"}, "select": {"rule": "probability"}}).select
    names = columns_needed(settings, table.columns)
    assert "probability" in names
    kept = choose(table.read(names), settings, 1).weights > 0
    np.testing.assert_array_equal(kept, table.values("probability") > 0.5)


def test_a_rule_without_a_classifier_is_refused() -> None:
    for select in ({"rule": "probability"}, {"rule": "fraction", "score": "probability"}):
        with pytest.raises(InputError, match=r"classify\.model"):
            parse_config({"select": select})
    assert Config().classify.model == "none"


def test_the_report_shows_what_it_is_worth(out: Path) -> None:
    (out / "round_1").mkdir(exist_ok=True)
    target = out / "round_1" / "classifier"
    target.exists() or target.symlink_to(out / "classifier")
    section = classifier_section(out, 1, {"probability": 0.9, "zc": 0.8, "local": None}, model="logistic", selects=True)
    assert section is not None
    assert "AUC" in section.answer
    assert "zc, has 0.800" in section.points[0]
    assert len(section.drawings) == 1
    assert classifier_section(out, 2, {}, model="logistic", selects=True) is None
    assert classifier_section(out, 1, {}, model="none", selects=False) is None  # left by another configuration
    card = json.loads((out / "classifier" / "card.json").read_text())
    assert card["evaluation"]["n"] > 100
    assert "mixture" in card["comparison"]["auc"]


def test_the_example_images_keeps_the_extremes(out: Path) -> None:
    table, example_images = (
        pq.read_table(out / "probability.parquet"),
        ExampleImages.read(out / "classifier" / EXAMPLES),
    )
    ids, found = table.column("particle_id").to_numpy(), table.column("probability").to_numpy()
    order = np.argsort(found, kind="stable")
    assert {p.particle_id for p in example_images.incorrect} == set(ids[order[:6]].tolist())
    np.testing.assert_allclose([p.probability for p in example_images.correct], found[order[::-1][:6]], rtol=1e-6)


def test_a_model_of_one_run_serves_another(
    folder: Path, scored: ScoredRound, tmp_path: Path, correct: np.ndarray
) -> None:
    evaluation = train([scored], SETTINGS, "planted", tmp_path / "model", seed=0)
    assert evaluation.auc.value > 0.8
    assert (tmp_path / "model" / "card.md").read_text().startswith("# Logistic regression")
    classified(folder, tmp_path, settings=Classify(model="given"), model=tmp_path / "model")
    area = auc(pq.read_table(tmp_path / "probability.parquet").column("probability").to_numpy(), correct)
    assert area is not None
    assert area > 0.95
    assert not (tmp_path / "classifier" / "card.json").exists()


def test_runs_of_the_same_images_are_no_two_runs(scored: ScoredRound, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="share"):
        train([scored, scored], SETTINGS, "planted", tmp_path, seed=0)


def test_training_on_the_truth_needs_flags(scored: ScoredRound, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not know which particles are correct"):
        train([scored], SETTINGS, "truth", tmp_path, seed=0)


def test_models_that_could_run_something_are_refused(scored: ScoredRound, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a model"):
        load_model(tmp_path)
    about = {"format": "cryocore.classify.model 1", "kind": "logistic", "scale": [1.0, 0.0]}
    for other in ([], {**about, "scale": 1.0}, {"format": about["format"], "kind": "logistic"}):
        (tmp_path / "model.json").write_text(json.dumps(other))
        with pytest.raises(InputError, match="not a model of this version"):
            load_model(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(about))
    (tmp_path / "model.skops").write_bytes(pickle.dumps(LogisticRegression()))
    with pytest.raises(InputError, match=r"model\.skops.*cannot be read"):
        load_model(tmp_path)


def test_features_do_not_depend_on_the_number_of_bands(scored: ScoredRound) -> None:
    table = pq.read_table(scored.scores)
    features = log_features(columns_of(table), scored.context)
    assert scored.context.groups.shape[0] == GROUPS
    np.testing.assert_allclose(scored.context.groups.sum(axis=0), 1.0)
    assert sum(name.startswith("cross_term") for name in features) == GROUPS
    assert all(np.isfinite(values).all() for values in features.values())


def test_right_particles_score_alike_in_all_groups(scored: ScoredRound, correct: np.ndarray) -> None:
    features = log_features(columns_of(pq.read_table(scored.scores)), scored.context)
    means = [features[f"cross_term_{i}"][correct].mean() for i in range(GROUPS)]
    assert max(means) < 2 * min(means)
    incorrect = [features[f"cross_term_{i}"][~correct].mean() for i in range(GROUPS)]
    assert all(other < mean for other, mean in zip(incorrect, means, strict=True))
    assert max(np.abs(incorrect[3:])) < 0.3 * min(means)  # coarse ones are alike in all views
