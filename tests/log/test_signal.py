"""Whether a set shows its map at all."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.errors import InputError
from cryocore.log.signal import Signal, signal_of
from cryocore.select.stage import require_signal
from tests.select.logs import planted_log


def test_noise_is_no_signal_whatever_z_is_like() -> None:
    """Poses may score alike for a reason of their own, as on images with the same background."""
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        common = 3.0 * rng.normal(size=500)
        columns = {"z": common + rng.normal(size=500), "random_pose_z": common[:, None] + rng.normal(size=(500, 8))}
        found.append(signal_of(columns))
    assert all(s.is_missing for s in found)
    assert np.std([s.standard_errors for s in found]) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("rates", [{}, {"misoriented": 0.9}, {"junk": 0.9}])
def test_a_few_correct_particles_are_a_signal(rates: dict[str, float]) -> None:
    found = signal_of(planted_log(2000, rates, strength=4.0).columns)
    assert not found.is_missing and found.standard_errors > 6.0


def test_nothing_is_selected_from_noise() -> None:
    missing = Signal(gain=0.01, standard_errors=0.4, n=2000)
    assert Signal.of({"signal": missing.as_dict()}) == missing
    with pytest.raises(
        InputError, match="no signal: in round 0 the 2,000 images match the map at random poses as well"
    ):
        require_signal(missing, 0)
    require_signal(Signal(gain=0.5, standard_errors=11.0, n=2000), 0)
    require_signal(Signal.of({}), 0)
    require_signal(signal_of({"z": np.ones(500)}), 0)
