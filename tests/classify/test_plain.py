"""A network that has nothing but two stacks of residual images."""

from __future__ import annotations

import json
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cryocore.classify.network import Network
from cryocore.classify.plain import folds_of, open_residuals, train_plain
from cryocore.config.classify import Classify
from cryocore.errors import InputError
from cryocore.log.rates import auc

QUICK = Classify(model="cnn", n_folds=3, n_epochs=6)


def residuals(n: int, side: int, left: float, seed: int) -> np.ndarray:
    """Noise, and what a wrong pose leaves of a molecule in the middle."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side / 2
    within = np.hypot(y, x) < side / 4
    shape = gaussian_filter(rng.normal(size=(n, side, side)), (0, 1.5, 1.5))
    return (rng.normal(size=(n, side, side)) + left * 4 * shape * within).astype(np.float32)


def stacks(folder: Path, side: int = 32) -> tuple[Path, Path]:
    np.save(folder / "correct.npy", residuals(70, side, 0.0, seed=1))
    np.save(folder / "incorrect.npy", residuals(60, side, 1.0, seed=2))
    return folder / "correct.npy", folder / "incorrect.npy"


def test_what_is_left_of_the_molecule_tells_incorrect_particles(tmp_path: Path) -> None:
    correct, incorrect = stacks(tmp_path)
    found = train_plain(correct, incorrect, QUICK, tmp_path / "model", seed=0)
    assert (found.n, found.n_correct) == (130, 70) and found.auc.value > 0.9
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    assert card["side"] == 32 and card["evaluation"]["auc"]["value"] == found.auc.value
    images = open_residuals(correct, incorrect)
    odds = Network.load(tmp_path / "model" / "network.pt").log_odds(images)
    assert auc(odds, images.correct) > 0.9


def test_labels_by_chance_teach_nothing(tmp_path: Path) -> None:
    for name, seed in (("correct", 1), ("incorrect", 2)):
        np.save(tmp_path / f"{name}.npy", residuals(60, 32, 0.5, seed))
    found = train_plain(tmp_path / "correct.npy", tmp_path / "incorrect.npy", QUICK, tmp_path / "model", seed=0)
    assert found.auc.low < 0.5 < found.auc.high + 0.1


def test_folds_hold_as_many_of_each_kind() -> None:
    label = np.arange(100) < 40
    fold = folds_of(label, 4, seed=3)
    assert [np.bincount(fold[label == kind]).tolist() for kind in (True, False)] == [[10] * 4, [15] * 4]


def test_stacks_that_do_not_fit(tmp_path: Path) -> None:
    correct, incorrect = stacks(tmp_path)
    images = open_residuals(correct, incorrect)
    assert images.shape == (130, 3, 32, 32) and images.correct.sum() == 70
    np.testing.assert_allclose(images[np.array([129, 0])][0, 0] * images.unit, np.load(incorrect)[-1], rtol=1e-5)
    mrcfile.write(tmp_path / "other.mrcs", residuals(20, 24, 1.0, seed=3))
    with pytest.raises(InputError, match=r"other\.mrcs: its images are \(24, 24\), those of correct\.npy \(32, 32\)"):
        open_residuals(correct, tmp_path / "other.mrcs")
    np.save(tmp_path / "large.npy", np.ones((3, 200, 200), dtype=np.float32))
    with pytest.raises(InputError, match="a side of 200 pixels; the network takes 16 to 160"):
        open_residuals(tmp_path / "large.npy", tmp_path / "large.npy")
    np.save(tmp_path / "few.npy", residuals(4, 32, 1.0, seed=4))
    with pytest.raises(InputError, match="3 folds need 9 images of each kind"):
        train_plain(correct, tmp_path / "few.npy", QUICK, tmp_path / "model", seed=0)
