"""Alternative poses: perturbed poses, perturbed shifts and random poses, and what the log says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cryocore.config.plant import PlantedErrors
from cryocore.config.run import parse_config
from cryocore.config.score import Score
from cryocore.errors import InputError
from cryocore.geometry.rotations import angular_distance_deg, quaternion_to_matrix
from cryocore.log.columns import score_columns
from cryocore.log.names import EXPECTED, MIXTURE, SCORES, SUGGESTED_POSE
from cryocore.log.rates import auc
from cryocore.score.comparison import informative_bands
from cryocore.score.reference import first_band
from cryocore.score.scores import BAND_COLUMNS, BandStatistics, Weighting, best_alternative, centre, z
from cryocore.tables.io import table_metadata
from cryocore.tables.particles import Particles
from tests.score.simulated import logged, simulated


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    folder = tmp_path_factory.mktemp("planted")
    errors = PlantedErrors(local_pose=0.15, wrong_shift=0.15, local_angle_deg=(8, 15), wrong_shift_angstrom=(8, 15))
    simulated(folder, errors)
    return folder, logged(folder)


def test_alternative_poses_see_the_errors_that_they_stand_for(planted: tuple[Path, pa.Table]) -> None:
    log = planted[1]
    kind = log.column("kind").to_numpy()
    for name, error in (("local", "local_pose"), ("shift", "wrong_shift")):
        use = (kind == "none") | (kind == error)
        found = {s: auc(log.column(s).to_numpy()[use], kind[use] == "none") for s in (name, "dual", "z")}
        assert found[name] > found["z"] - 0.02, found
        assert found["dual"] > found["z"], found
        assert found[name] > 0.7, found  # of 120 incorrect particles it is known to 0.025


def test_suggested_poses_and_shifts_are_closer_to_the_truth(planted: tuple[Path, pa.Table]) -> None:
    folder, log = planted
    kind, data = log.column("kind").to_numpy(), Particles.read(folder / "particles.parquet")
    truth = pq.read_table(folder / "truth.parquet")

    def columns(table: pa.Table, *names: str) -> np.ndarray:
        return np.stack([table.column(n).to_numpy().astype(np.float64) for n in names], axis=1)

    correct = quaternion_to_matrix(columns(truth, *(f"quat_{c}" for c in "wxyz")))
    suggested = quaternion_to_matrix(columns(log, *(f"suggested_quat_{c}" for c in "wxyz")))
    gaining = (kind == "local_pose") & (log.column("suggested_pose_gain").to_numpy() > 2)
    assert gaining.sum() > 40
    closer = angular_distance_deg(suggested, correct) < angular_distance_deg(data.rotations, correct)
    assert closer[gaining].mean() > 0.7
    turned = angular_distance_deg(suggested, data.rotations)
    assert np.all((turned > 2.99) & (turned < 15.01))

    correct = columns(truth, "shift_x_angstrom", "shift_y_angstrom")
    suggested = columns(log, "suggested_shift_x_angstrom", "suggested_shift_y_angstrom")
    gaining = (kind == "wrong_shift") & (log.column("suggested_shift_gain").to_numpy() > 2)
    assert gaining.sum() > 40
    stored = data.shifts_angstrom
    closer = np.linalg.norm(suggested - correct, axis=1) < np.linalg.norm(stored - correct, axis=1)
    assert closer[gaining].mean() > 0.7
    moved = np.linalg.norm(suggested - stored, axis=1)
    assert np.all((moved > 2.99) & (moved < 15.01))


def test_right_particles_score_what_is_expected_of_them(planted: tuple[Path, pa.Table]) -> None:
    log = planted[1]
    correct = log.column("kind").to_numpy() == "none"
    for name in ("z", "zc"):
        found, expected = (log.column(n).to_numpy()[correct] for n in (name, f"expected_{name}"))
        # the FSC counts directions evenly, particles those that they see, where the map is better
        assert 1.0 < found.mean() / expected.mean() < 1.2
        assert (found - expected).std() == pytest.approx(1.0, abs=0.3)
    ldac, expected = (log.column(n).to_numpy()[correct] for n in ("ldac", "expected_ldac"))
    k = (ldac @ expected) / (expected @ expected)
    assert 0.9 < k < 1.4  # the incorrect particles in the map dilute fine bands the most
    assert (ldac - k * expected).std() == pytest.approx(1.0, abs=0.3)
    random_pose_z = log.column("random_pose_z").combine_chunks()
    assert random_pose_z.type.list_size == Score().n_random_poses
    own, random_poses = log.column("z").to_numpy(), random_pose_z.flatten().to_numpy().reshape(len(log), -1)
    contrast = (own - random_poses.mean(axis=1)) / random_poses.std(axis=1, ddof=1)
    np.testing.assert_allclose(log.column("contrast").to_numpy(), contrast, rtol=1e-4, atol=1e-4)
    assert score_columns(log.schema) == [*SCORES, MIXTURE]


def test_zc_is_centred_by_the_mean_of_the_particles_own_half_map(planted: tuple[Path, pa.Table]) -> None:
    log, about = planted[1], table_metadata(planted[1].schema)
    a, e, c, b, f, g = (log.column(n).combine_chunks().flatten().to_numpy().reshape(len(log), -1) for n in BAND_COLUMNS)
    mean = np.array(about["rotational_average"])[log.column("half").to_numpy() - 1]
    sigma2 = np.array(about["noise_power"][0], dtype=float) * log.column("noise_factor").to_numpy()[:, None]
    worth = Weighting(sigma2, np.array(about["signal_share"]), mean, np.zeros(1))
    expected = z(*centre(BandStatistics(*(v.astype(np.float64) for v in (a, e, c, b, f, g))), mean), worth)
    np.testing.assert_allclose(log.column("zc").to_numpy(), expected, atol=1e-4)


def test_without_alternative_poses_nothing_is_suggested(tmp_path: Path) -> None:
    none = Score(n_random_poses=0, n_perturbed_poses=0, n_perturbed_shifts=0)
    simulated(tmp_path, PlantedErrors(wrong_pose=0.3), n_particles=200)
    log = logged(tmp_path, none)
    for name in (*SUGGESTED_POSE, "contrast", "local", "shift"):
        assert np.isnan(log.column(name).to_numpy()).all(), name
    for name in (*EXPECTED, "z", "dual"):
        assert np.isfinite(log.column(name).to_numpy()).all(), name
    assert log.column("random_pose_z").to_pylist() == [[]] * 200


def test_the_best_alternative_is_the_one_that_gains_most() -> None:
    column, gain = best_alternative(np.array([[1.0, 3.0, 2.0], [-1.0, -2.0, -0.5]]))
    assert column.tolist() == [1, 2]
    assert gain.tolist() == [3.0, -0.5]


def test_a_score_without_its_alternatives_cannot_select() -> None:
    for name, key in (("contrast", "n_random_poses"), ("local", "n_perturbed_poses"), ("shift", "n_perturbed_shifts")):
        with pytest.raises(InputError, match=f"{name} needs score.{key}"):
            parse_config({"score": {key: 0}, "select": {"score": name, "rule": "fraction"}})


def test_ldac_sees_what_differs_between_neighbouring_poses(planted: tuple[Path, pa.Table]) -> None:
    log = planted[1]
    view_correlation = np.array(table_metadata(log.schema)["neighbour_correlation"])
    assert view_correlation.shape == (2, table_metadata(log.schema)["n_bands"])
    assert view_correlation.min() >= 0.0
    assert view_correlation[:, 1:3].min() > 0.8
    assert view_correlation[:, 1:3].mean() > view_correlation[:, 6:9].mean() + 0.05
    kind = log.column("kind").to_numpy()
    use = (kind == "none") | (kind == "local_pose")
    found = {s: auc(log.column(s).to_numpy()[use], kind[use] == "none") for s in ("ldac", "zc")}
    assert found["ldac"] > found["zc"] + 0.02, found


def test_a_cut_off_beyond_nyquist_is_pointed_out(
    planted: tuple[Path, pa.Table], caplog: pytest.LogCaptureFixture
) -> None:
    data, edges = Particles.read(planted[0] / "particles.parquet"), np.array([1, 5, 9, 12], dtype=np.int32)
    side = data.reference_optics.box * data.reference_optics.pixel_size_angstrom
    assert (first_band(edges, data, side / 5), first_band(edges, data, side / 6)) == (1, 2)
    assert not caplog.records
    assert first_band(edges, data, side / 12) == 2
    assert f"from {side / 9:.3g} Å on, is taken" in caplog.text


def test_cryosieve_has_a_cut_off_for_each_round(planted: tuple[Path, pa.Table]) -> None:
    folder, _ = planted
    settings = {"n_random_poses": 0, "n_perturbed_poses": 0, "n_perturbed_shifts": 0}
    schedule = Score(cryosieve_angstrom=[60.0, 30.0], **settings)
    fixed = {a: logged(folder, Score(cryosieve_angstrom=a, **settings)).column("cryosieve") for a in (60.0, 30.0)}
    assert fixed[60.0] != fixed[30.0]
    for number, cut_off in ((0, 60.0), (1, 30.0), (7, 30.0)):
        assert logged(folder, schedule, number).column("cryosieve") == fixed[cut_off]


def test_bands_that_tell_poses_apart() -> None:
    signal, power = np.array([1.0, 0.8, 0.2, 0.0]), np.ones((2, 4))
    assert informative_bands(signal, power, np.ones((1, 4))) == 3
    assert informative_bands(signal, power, np.array([[1.0, 1.0, 50.0, 1.0]])) == 2
    unused_group, coarse_group = [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, np.inf, np.inf]
    assert informative_bands(signal, power, np.array([[1.0, 1.0, 1.0, 1.0], unused_group])) == 3
    assert informative_bands(signal, power, np.array([coarse_group])) == 2
    assert informative_bands(np.zeros(4), power, np.ones((1, 4))) == 1
