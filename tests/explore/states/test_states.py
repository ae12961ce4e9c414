"""A second state that is planted, and none; what is written of it, and said of a selection."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cryocore.commands.app import app
from cryocore.config.plant import PlantedErrors
from cryocore.config.select import Select
from cryocore.errors import InputError
from cryocore.explore.gallery import Seen
from cryocore.explore.look import look_for_states
from cryocore.explore.states import states
from cryocore.explore.states.measure import THRESHOLD, _share
from cryocore.formats.star import read_star
from cryocore.log.rates import auc
from cryocore.maps.mrc import read_map
from cryocore.report.states import states_section
from tests.explore.runs import CPU, run_of

pytestmark = pytest.mark.slow
SECOND = {"second_state": "missing", "second_share": 0.3}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 images, 30 % without a fifth of the molecule, and the best half by zc."""
    by_score = Select(rule="fraction", value=[0.5], score="zc")
    return run_of(tmp_path_factory.mktemp("two"), PlantedErrors(), by_score, **SECOND)


def test_a_second_state_is_found_mapped_and_split(two: Path, tmp_path: Path) -> None:
    called = CliRunner().invoke(app, ["states", str(two), "--out", str(tmp_path), "--round", "1", "--json"])
    assert called.exit_code == 0, called.output
    told = json.loads(called.stdout)
    assert told["standard_errors"] > told["threshold"] == THRESHOLD and told["second"]["kind"] == "missing"
    truth = pq.read_table(two / "simulated" / "truth.parquet")["state"].to_numpy()
    odds = pq.read_table(tmp_path / "states.parquet")["state"].to_numpy()
    separation = auc(odds, truth == 1)
    assert separation is not None and separation > 0.9
    assert abs(told["second"]["share"] - 0.3) < 0.11
    # the part that is missing, and not what is opposite
    change = read_map(two / "simulated" / "second_map.mrc")[0] - read_map(two / "simulated" / "true_map.mrc")[0]
    places = np.argwhere(change < 0.5 * change.min()) - 16
    z, y, x = 4.0 * places.mean(axis=0)
    assert np.linalg.norm(np.subtract(told["second"]["region"]["centre_angstrom"], (x, y, z))) < 10.0
    assert (tmp_path / "states.svg").stat().st_size > 5000
    selected = pq.read_table(two / "log" / "round=1" / "log.parquet")["selected"].to_numpy().astype(bool)
    listed = [len(read_star(tmp_path / f"{name}.star").particles) for name in ("first", "second")]
    assert listed == [np.count_nonzero(selected & (odds <= 0)), np.count_nonzero(selected & (odds > 0))]
    # the second state has less in its map where it lacks it
    halves = {n: sum(read_map(tmp_path / f"{n}_half{h}.mrc")[0] for h in (1, 2)) for n in ("first", "second")}
    lost = tuple(places.T + 16)
    assert halves["second"][lost].mean() < 0.7 * halves["first"][lost].mean()


def test_a_selection_that_favours_a_state_is_told(two: Path, tmp_path: Path) -> None:
    """zc keeps more of those that fit the map of the majority."""
    look_for_states(Seen.of_run(two, "1", CPU), tmp_path, 0)
    told = json.loads((tmp_path / "states.json").read_text())
    assert told["second"]["kept_second"] < 0.8 * told["second"]["kept_first"]
    section = states_section(tmp_path)
    assert section is not None and section.answer == told["sentence"] and len(section.warnings) == 2
    assert "selects a state" in section.warnings[1] and [d.name for d in section.drawings] == ["states"]


def test_wrong_poses_are_no_state(run: Path, tmp_path: Path) -> None:
    seen = Seen.of_run(run, "1", CPU)
    found = states(seen, seed=0)
    assert found.second is None and found.standard_errors < THRESHOLD
    look_for_states(seen, tmp_path, 0)
    section = states_section(tmp_path)
    assert section is not None and "No second state" in section.answer
    assert not section.warnings and not section.drawings and not (tmp_path / "states.parquet").exists()


def test_too_few_particles_are_told(tmp_path: Path) -> None:
    small = run_of(tmp_path / "run", PlantedErrors(), None, n_particles=300)
    seen = Seen.of_run(small, "last", CPU)
    with pytest.raises(InputError, match="too few to look for states"):
        states(seen, seed=0)
    look_for_states(seen, tmp_path, 0)
    section = states_section(tmp_path)
    assert section is not None and section.answer.startswith("States are not looked for: 150 particles")
    (tmp_path / "states.json").write_text("{}")
    with pytest.raises(InputError, match="not what look writes"):
        states_section(tmp_path)


def test_shares_have_the_error_of_their_weights() -> None:
    share, error = _share(np.array([True, True, False, False]), np.array([1.0, 1.0, 1.0, 1.0]))
    assert (share, error) == (0.5, 0.25)
