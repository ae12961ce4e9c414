"""Robust losses: their weights are their slopes, and say what the literature says."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from cryocore.config.run import parse_config
from cryocore.config.solve import Iterative
from cryocore.errors import InputError
from cryocore.reconstruct.iterative.losses import weigh
from cryocore.statistics import effective_number

RNG = np.random.default_rng(0)
DISTANCE = RNG.chisquare(1, 400) * 3
HALF = (np.arange(400) % 2).astype(np.int32)


@pytest.mark.parametrize("loss", ["l2", "l1", "huber", "irls", "student_t"])
@pytest.mark.parametrize("coefficients", [1, 500])
def test_weights_are_the_slopes_of_the_loss(loss: str, coefficients: float) -> None:
    settings, step = Iterative(loss=loss), 1e-5
    _, weights = weigh(settings, 0, coefficients, DISTANCE, HALF)
    up, down = (weigh(settings, 0, coefficients, DISTANCE + s, HALF)[0] for s in (step, -step))
    np.testing.assert_allclose(weights, (up - down) / (2 * step), rtol=1e-4)


def test_weights_by_distance() -> None:
    q = np.array([-4.0, 0.0, 1.0, 4.0, 25.0])
    half = np.zeros(5, dtype=np.int32)

    def weights(**settings: object) -> list[float]:
        return weigh(Iterative.model_validate(settings), 0, 1, q, half)[1].tolist()

    assert weights(loss="l2") == [1.0] * 5
    assert weights(loss="huber", delta=2.0) == pytest.approx([1, 1, 1, 1, 0.4])
    assert weights(loss="irls", floor=1.0) == pytest.approx([1, 1, 1, 0.5, 0.2])
    assert weights(loss="l1", floor=1.0) == pytest.approx([1, 1, 2**-0.5, 5**-0.5, 26**-0.5])
    assert weights(loss="student_t", nu=3.0) == pytest.approx([4 / 3, 4 / 3, 1.0, 4 / 7, 4 / 28])
    assert weights(loss="trimmed", keep=[0.6]) == [1, 1, 1, 0, 0]
    assert weights(loss="trimmed_l1", keep=[0.6], floor=1.0) == pytest.approx([1, 1, 2**-0.5, 0, 0])


def test_students_loss_of_a_vector_has_the_weights_of_its_density() -> None:
    settings, m = Iterative(loss="student_t", nu=4.0), 1000
    _, weights = weigh(settings, 0, m, np.array([0.9, 1.0, 1.1]), np.zeros(3, dtype=np.int32))
    np.testing.assert_allclose(weights, (4 + m) / (4 + m * np.array([0.9, 1.0, 1.1])))


def test_trimming_keeps_the_best_of_each_half_set_on_a_schedule() -> None:
    settings = Iterative(loss="trimmed", keep=[0.9, 0.5])
    for epoch, share in ((0, 0.9), (1, 0.5), (7, 0.5)):
        losses, weights = weigh(settings, epoch, 1, DISTANCE, HALF)
        for h in (0, 1):
            at = h == HALF
            assert weights[at].sum() == round(share * at.sum())
            assert DISTANCE[at][weights[at] > 0].max() <= DISTANCE[at][weights[at] == 0].min()
        np.testing.assert_array_equal(losses, weights * DISTANCE)


def test_effective_number() -> None:
    assert effective_number(np.ones(7)) == pytest.approx(7)
    assert effective_number(np.array([1.0, 0, 0])) == pytest.approx(1)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(InputError, match="LBFGS needs the gradient of all particles"):
        parse_config({"reconstruct": {"iterative": {"batch_size": 100}}})
