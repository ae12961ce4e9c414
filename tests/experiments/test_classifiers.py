"""A network that goes on with a few particles of another case is asked of the others alone."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from cryocore.classify.examples import Examples, Pictures
from cryocore.classify.models import OnPictures, fit_model
from cryocore.classify.start import AS_IT_IS, FROM_SCRATCH
from cryocore.classify.training_set import TrainingSet
from cryocore.config.classify import Classify
from experiments.classifiers import TUNED, fine_tuned
from experiments.classifiers_page import tuned_table

SETTINGS = Classify(model="cnn", n_folds=4, image_size=32, n_epochs=3)


def particles(seed: int, n: int, contrast: float) -> TrainingSet:
    """Predictions of a few waves, and images that show them or not."""
    rng = np.random.default_rng(seed)
    grid = np.arange(32) / 32.0
    waves = np.cos(2 * np.pi * (rng.integers(1, 4, (n, 1, 1)) * grid[:, None] + rng.random((n, 1, 1))))
    prediction = (waves * np.ones((n, 32, 32))).astype(np.float32)
    correct = np.arange(n) % 2 == 0
    image = contrast * prediction * correct[:, None, None] + rng.standard_normal((n, 32, 32))
    examples = Examples(
        ids=np.arange(n, dtype=np.uint64),
        half=np.ones(n, dtype=np.int8),
        micrograph=np.array([f"m{i // 10}" for i in range(n)]),
        names=("nothing",),
        features=np.zeros((n, 1), dtype=np.float32),
        pictures=Pictures(np.stack([image, prediction], axis=1).astype(np.float16)),
    )
    kinds = np.where(correct, "", "junk").astype(np.str_)
    return TrainingSet(examples, correct, np.ones(n, dtype=np.float32), kinds)


def test_a_start_is_asked_of_what_it_has_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = particles(0, 400, 1.0), particles(1, 160, 1.0)
    held_back = np.arange(400) >= 320
    start = fit_model("cnn", source.examples, source.correct, source.weight, held_back, SETTINGS, seed=0)
    assert isinstance(start, OnPictures)
    asked: list[int] = []
    log_odds = OnPictures.log_odds
    monkeypatch.setattr(OnPictures, "log_odds", lambda self, e: asked.append(len(e)) or log_odds(self, e))
    found = fine_tuned(start, target, 60, SETTINGS, seed=0)
    assert asked == [120] * 3 and found["few"] == 40  # a quarter
    assert found["auc"][AS_IT_IS]["value"] > 0.9 and found["auc"][TUNED]["value"] > 0.9
    row = tuned_table([{"label": "waves", "fine_tuned": {"cnn": found}}]).splitlines()[2]
    assert row.startswith("| waves | 40 | ") and row.count("(") == 4 and FROM_SCRATCH in found["auc"]
