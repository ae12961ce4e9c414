"""What a round leaves out: nothing, worse copies, wrong poses, or another state."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from cryocore.backend import get_backend
from cryocore.commands.app import app
from cryocore.config.plant import PlantedErrors
from cryocore.config.simulate import Simulate
from cryocore.errors import InputError
from cryocore.explore.dropped import dropped
from cryocore.explore.dropped.measure import drawn, last_with_signal, samples, signal_correlation
from cryocore.ingest.join import join
from cryocore.ingest.particles import ingest
from cryocore.log.rounds import LogRound, wanted_round
from cryocore.maps.masks import automatic_mask
from cryocore.maps.mrc import read_map, write_map
from cryocore.simulate.stage import simulate, true_map
from cryocore.tables.io import write_table
from cryocore.types import Floats32

N, PIXEL = 300, 3.0
CPU = get_backend("cpu", threads=1)
SETTINGS = Simulate(
    molecule="small", bfactor_angstrom2=50.0, n_particles=N, box=48, pixel_size_angstrom=PIXEL, snr=0.3,
    orientations="uniform", shift_angstrom=0.0, n_micrographs=10,
)  # fmt: skip


def run_of(folder: Path, other: Simulate, plant: PlantedErrors | None = None) -> Path:
    """A run whose last round selects ``N`` good images, and leaves out ``N`` of others."""
    for name, settings, errors in (("good", SETTINGS, PlantedErrors()), ("other", other, plant or PlantedErrors())):
        simulate(settings, errors, symmetry="C1", seed=len(name), out_dir=folder / name, backend=CPU)
    files = [folder / name / "particles.star" for name in ("good", "other")]
    join(files, folder / "joined.star", root=None, pixel_size_angstrom=None, class_number=None)
    data = ingest(folder / "joined.star", root=None, pixel_size_angstrom=None, seed=0)
    data.write(folder / "particles.parquet")
    mask = automatic_mask(true_map(SETTINGS), PIXEL)
    stack = [str(path) for path in data.table.column("stack").to_pylist()]
    selected = np.array([Path(path).parent.name == "good" for path in stack])
    for number, chosen in enumerate((np.ones(2 * N, dtype=bool), selected)):
        round_dir = folder / f"round_{number}"
        write_map(round_dir / "mask.mrc", mask, PIXEL)
        np.savez(round_dir / "sampling.npz", padding=np.float64(2.0), last_shell=23)
        weight = chosen.astype(np.float32)
        table = pa.table({"particle_id": data.ids, "half": data.column("half"), "weight": weight, "selected": chosen})
        write_table(folder / "log" / f"round={number}" / "log.parquet", table, symmetry="C1")
    write_table(folder / "round_1" / "subset.parquet", table.drop_columns(["half"]))
    return folder


def without_a_part(volume: Floats32) -> Floats32:
    """The map without what lies on one side, about a fifth of its mass."""
    n = len(volume)
    x = np.arange(n) - n // 2
    mass = volume.clip(0).sum(axis=(0, 1)).cumsum()
    edge = int(np.searchsorted(mass, 0.78 * mass[-1])) - n // 2
    return (volume / (1.0 + np.exp(np.clip((x - edge) / 0.7, -50, 50)))).astype(np.float32)


def test_worse_copies(tmp_path: Path) -> None:
    found = dropped(run_of(tmp_path, SETTINGS.model_copy(update={"snr": 0.1})), CPU)
    assert found.number == 1 and found.n_left_out == N
    assert [part.n_particles for part in found.parts] == [found.parts[0].n_particles] * 3
    assert found.correlation == pytest.approx(1.0, abs=3.0 * found.correlation_sd)
    assert found.correlation_sd < 0.05 and "worse copies" in found.verdict
    left_out, random, selected = (float(np.mean(part.fsc[1:])) for part in found.parts)
    assert left_out < random < selected


def test_another_state(tmp_path: Path) -> None:
    """A fifth of the mass is missing."""
    write_map(tmp_path / "state.mrc", without_a_part(true_map(SETTINGS)), PIXEL)
    other = SETTINGS.model_dump(exclude_unset=True, exclude={"molecule", "bfactor_angstrom2"})
    found = dropped(run_of(tmp_path, Simulate(**other, volume=str(tmp_path / "state.mrc"))), CPU)
    assert found.correlation < 0.98 and found.correlation < 1.0 - 3.0 * found.correlation_sd
    assert "not the same" in found.verdict


def test_wrong_poses_and_junk(tmp_path: Path) -> None:
    found = dropped(run_of(tmp_path / "wrong", SETTINGS, PlantedErrors(wrong_pose=1.0)), CPU)
    assert "worse copies" not in found.verdict
    found = dropped(run_of(tmp_path / "junk", SETTINGS, PlantedErrors(junk=1.0)), CPU)
    assert np.isnan(found.correlation) and "no signal" in found.verdict


def test_as_a_command(tmp_path: Path) -> None:
    run = run_of(tmp_path, SETTINGS)
    called = CliRunner().invoke(
        app, ["dropped", str(run), "--json", "--out", str(tmp_path / "maps"), "--plot", str(tmp_path / "d.png")]
    )
    assert called.exit_code == 0, called.output
    values = json.loads(called.stdout)
    assert [s["name"] for s in values["sets"]] == ["left out", "random", "selected"]
    assert len(values["fsc_left_out_with_selected"]) == 25
    assert len(list((tmp_path / "maps").iterdir())) == 6 and (tmp_path / "d.png").stat().st_size > 10_000
    assert read_map(tmp_path / "maps" / "left_out_half1.mrc")[0].shape == (48, 48, 48)
    plain = CliRunner().invoke(app, ["dropped", str(run)])
    assert "Round 1 leaves out 300 particles" in plain.stdout and "worse copies" in plain.stdout
    everything = CliRunner().invoke(app, ["dropped", str(run), "--round", "0"])
    assert everything.exit_code != 0


def test_arguments_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    for command in ("dropped", "reslog"):
        for wrong, told in ((["--plot", "map.xyz"], "map.xyz"), (["--seed", "-1"], "greater than or equal to 0")):
            refused = CliRunner().invoke(app, [command, str(tmp_path / "no_run"), *wrong])
            assert refused.exit_code != 0 and told in f"{refused.output} {refused.exception}"


def test_one_round_is_wanted() -> None:
    rounds = [LogRound(Path("log.parquet"), number, pa.schema([]), {}, {}, 1) for number in (0, 1)]
    assert wanted_round(rounds, "last").number == 1 and wanted_round(rounds, "0").number == 0
    for several in ("all", "0,1"):
        with pytest.raises(InputError, match="are 2 rounds and one is wanted"):
            wanted_round(rounds, several)


def test_sets_are_of_one_size_and_do_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    ids = rng.permutation(1000).astype(np.uint64)
    half, selected = (1 + np.arange(1000) % 2).astype(np.int8), rng.random(1000) < 0.8
    sets = drawn(selected, half, ids, seed=1)
    sizes = [np.count_nonzero(~selected & (half == h)) for h in (1, 2)]
    for flags in sets.values():
        assert [np.count_nonzero(flags & (half == h)) for h in (1, 2)] == sizes
    assert not np.any(sets["left out"] & selected) and np.all(selected[sets["selected"]])
    order = rng.permutation(1000)
    again = drawn(selected[order], half[order], ids[order], seed=1)
    for name, flags in sets.items():
        np.testing.assert_array_equal(again[name], flags[order])
    with pytest.raises(InputError, match="particles of half set 1 are left out: too few for a map"):
        drawn(np.arange(1000) > 60, half, ids, seed=1)


def test_correlation_of_signals_of_known_maps() -> None:
    """Half curves f and g of signals that correlate by 0.8, drawn with their errors."""
    rng, n = np.random.default_rng(3), np.linspace(20.0, 2000.0, 33)
    f, g = np.linspace(0.98, 0.3, 33), np.linspace(0.99, 0.5, 33)
    across = 0.8 * np.sqrt(2 * f / (1 + f) * 2 * g / (1 + g))
    values, errors = [], []
    for _ in range(200):
        noisy = [c + (1 - c**2) / np.sqrt(n) * rng.normal(size=33) for c in (f, g, across)]
        value, sd, last = signal_correlation(*noisy, n)
        values.append(value)
        errors.append(sd)
        assert last > 10
    assert np.mean(values) == pytest.approx(0.8, abs=0.01)
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.4)
    nothing = signal_correlation(np.zeros(33), g, across, n)
    assert np.isnan(nothing[0]) and nothing[2] == 0


def test_samples_and_the_last_shell_with_signal() -> None:
    counts = samples(np.ones((64, 64, 64), dtype=np.float32), 2)
    assert counts[20] == pytest.approx(0.5 * 2 * np.pi * 20**2, rel=0.1)
    assert last_with_signal(np.array([1.0, 0.9, 0.5, 0.1, 0.9])) == 2
    assert last_with_signal(np.array([1.0, 0.1, 0.5])) == 0
    assert last_with_signal(np.ones(5)) == 4
