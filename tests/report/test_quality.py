"""What the report says of particles of unequal quality: intervals, order, and what goes with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cryocore.ingest.particles import ingest
from cryocore.log.quality import quality
from cryocore.log.rounds import open_round
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import shell_resolution
from cryocore.report.quality import _beside, _trends, micrographs, quality_section
from cryocore.tables.io import read_table, table_metadata, write_table
from cryocore.tables.particles import BFACTOR_SD
from cryocore.types import Floats
from tests.ingest.samples import particle_columns, write_data_set
from tests.log.test_quality import METADATA, drawn, on_micrographs

COUNT = 40
RESOLUTION = shell_resolution(64, 2.0)


def run_with(
    folder: Path,
    bfactor: Floats,
    micrograph: Floats,
    seed: int,
    *,
    name: str = "m{}.mrc",
    group: Any = None,
    named: bool = True,
    scale: Floats | float = 1.0,
    strength: float = 4.0,
) -> Path:
    """A run of two rounds whose subset has the envelopes by the log, which is that of both rounds."""
    log = drawn(bfactor, micrograph, seed, scale=scale, strength=strength)
    names = [name.format(int(m)) for m in micrograph]
    log = log.set_column(log.schema.get_field_index("micrograph"), "micrograph", pa.array(names).dictionary_encode())
    log = log if named else log.drop_columns(["micrograph"])
    if group is not None:
        at = log.schema.get_field_index("optics_group")
        log = log.set_column(at, "optics_group", pa.array(np.asarray(group, dtype=np.int32)))
    defocus = pa.array((8000.0 + 300.0 * (micrograph * 7 % COUNT)).astype(np.float32))
    for side in "uv":
        log = log.append_column(f"defocus_{side}_angstrom", defocus)
    (folder / "round_1").mkdir(parents=True)
    curve = np.where(np.arange(33) < 24, 1.0, 0.0)
    FscCurves(np.arange(33), RESOLUTION, curve, curve, curve, curve).write(folder / "round_1" / "fsc.parquet")
    write_table(folder / "log" / "round=1" / "log.parquet", log, **METADATA)
    found = quality(open_round(folder / "log" / "round=1" / "log.parquet"))
    subset = pa.table({"particle_id": log["particle_id"], "weight": np.ones(len(log), np.float32)})
    for column, values in ({} if found is None else found.columns()).items():
        subset = subset.append_column(column, pa.array(values))
    said = {} if found is None else {"quality": found.as_dict()}
    write_table(folder / "round_1" / "subset.parquet", subset, settings={"quality": "auto"}, **said)
    return folder


def read(folder: Path) -> Any:
    """The micrographs of such a run."""
    log, subset = open_round(folder / "log" / "round=1" / "log.parquet"), read_table(folder / "round_1/subset.parquet")
    made_by = table_metadata(subset.schema)["quality"]
    return micrographs(log, subset, {**made_by["spread_angstrom2"], "scale": made_by["micrograph_scale_spread"]}, {})


def test_micrographs_that_get_dull_are_named_with_what_it_does(tmp_path: Path) -> None:
    """Planted: B rises by 8 Å² from one micrograph to the next."""
    _, micrograph = on_micrographs(1, 0.0)
    section = quality_section(run_with(tmp_path, 8.0 * micrograph, micrograph, 1), 1)
    found = read(tmp_path)
    ends = np.exp(-0.25 * np.array([found.bfactor.value.max(), found.bfactor.value.min()]) / (128.0 / 23.857) ** 2)
    reach = f"the dullest of 40 has {ends[0]:.2f} times that of the mean, the sharpest {ends[1]:.2f} times"
    assert reach in section.answer
    assert section.answer.startswith("The signal of micrographs reaches differently far: at 5.4 Å")
    levels, agreement, trends, command = section.points
    assert "between micrographs; none is found between optics groups. Of the scale: none is found." in levels
    assert float(agreement.rstrip(".").split()[-1]) > 0.9
    assert trends.startswith("B rises with the order of acquisition (rank correlation +0.9")
    assert trends.endswith("No trend is seen with the defocus.")
    assert f"cryocore replay {tmp_path} --round 0 --quality none" in command
    (listed,) = section.tables
    rows = [int(row[0][1:].split(".")[0]) for row in listed.rows]
    assert len(rows) == 6 and min(rows[:3]) > 30 and max(rows[3:]) < 10
    low, high = (float(end.replace("−", "-")) for end in listed.rows[0][3].split(" to "))
    assert low < float(listed.rows[0][2]) < high and low > 60.0
    (drawing,) = section.drawings
    assert [len(axes.containers[0].lines[0].get_xdata()) for axes in drawing.figure.axes] == [COUNT, COUNT]
    np.testing.assert_allclose(drawing.figure.axes[0].containers[0].lines[0].get_ydata(), found.bfactor.value)


def test_intervals_of_both_half_sets_hold_what_they_say(tmp_path: Path) -> None:
    """240 micrographs: 95 of 100 intervals hold the truth, and both half sets say more than either."""
    within, narrower = [], []
    for seed in range(6):
        bfactor, micrograph = on_micrographs(seed, 80.0)
        found = read(run_with(tmp_path / str(seed), bfactor - bfactor.mean(), micrograph, seed))
        truth = np.array([(bfactor - bfactor.mean())[micrograph == int(name[1:-4])][0] for name in found.name])
        within.append(np.abs(found.bfactor.value - truth) < 1.96 * found.bfactor.sd)
        sd = read_table(tmp_path / str(seed) / "round_1" / "subset.parquet")[BFACTOR_SD].to_numpy()
        narrower.append(found.bfactor.sd.mean() / sd.mean())
    assert 0.90 < np.concatenate(within).mean() < 0.99
    assert 0.6 < np.mean(narrower) < 0.85


def test_faint_micrographs_are_named(tmp_path: Path) -> None:
    """Planted: scales that fall from one micrograph to the next, and no difference in B."""
    _, micrograph = on_micrographs(6, 0.0)
    section = quality_section(run_with(tmp_path, 0.0 * micrograph, micrograph, 6, scale=1.3 - 0.015 * micrograph), 1)
    found = read(tmp_path)
    assert not found.bfactor.spread and not found.bfactor.value.any()
    assert section.answer.startswith("The signal of micrographs is differently strong: the faintest of 40 has 0.")
    levels, agreement, trends, _ = section.points
    assert levels.startswith("Standard deviation of B: none is found. Of the scale: 0.")
    assert "each have their own scales, which correlate by 0.9" in agreement
    assert trends.startswith("The scale falls with the order of acquisition (rank correlation -0.9")
    (listed,) = section.tables
    assert listed.head[2:4] == ("Scale", "95 % interval") and listed.title.endswith("faintest and the strongest of 40")
    rows = [int(row[0][1:].split(".")[0]) for row in listed.rows]
    assert min(rows[:3]) > 25 and max(rows[3:]) < 12
    (drawing,) = section.drawings
    np.testing.assert_allclose(drawing.figure.axes[0].containers[0].lines[0].get_ydata(), found.scale.value)


def test_the_order_is_that_of_the_time_in_the_names(tmp_path: Path) -> None:
    bfactor, micrograph = on_micrographs(2, 80.0)
    run_with(tmp_path, bfactor, 40.0 - micrograph, 2, name="grid{0:02d}_20240102_1015{0:02d}.mrc")
    assert [int(name[4:6]) for name in read(tmp_path).name] == [*range(1, 41)]


def test_alike_particles_are_one_line(tmp_path: Path) -> None:
    folder = run_with(tmp_path, *on_micrographs(3, 0.0), 3)
    section = quality_section(folder, 1)
    assert section.answer.startswith("No differences are found") and "\n" not in section.answer
    assert (section.points, section.drawings, section.tables, section.reading) == ((), (), (), "")
    assert quality_section(folder, 0).answer == "Nothing is selected yet."
    subset = folder / "round_1" / "subset.parquet"
    write_table(subset, read_table(subset), settings={"quality": "none"})
    assert quality_section(folder, 1).answer == "Not asked: select.quality is none."


def test_optics_groups_that_differ_have_no_figure_without_micrographs(tmp_path: Path) -> None:
    """A log that names no micrograph, in which the second half of the particles is dull."""
    _, micrograph = on_micrographs(0, 0.0)
    run_with(tmp_path, 300.0 * (micrograph >= 20), micrograph, 0, group=micrograph >= 20, named=False)
    section = quality_section(tmp_path, 1)
    assert section.answer.startswith("The signal of optics groups reaches differently far. Each counts in the map")
    told = r"Standard deviation of B: \d+ Å² between optics groups\. Of the scale: 0\.05 between optics groups\."
    assert re.fullmatch(told, section.points[0])
    assert not section.drawings and not section.tables


def test_optics_groups_that_are_faint_alone_are_not_called_dull(tmp_path: Path) -> None:
    _, micrograph = on_micrographs(0, 0.0)
    faint = micrograph >= 20
    run_with(tmp_path, 0.0 * micrograph, micrograph, 0, group=faint, named=False, scale=np.where(faint, 0.7, 1.3))
    section = quality_section(tmp_path, 1)
    assert section.answer.startswith("The signal of optics groups is differently strong. Each counts in the map of")
    assert re.fullmatch(
        r"Standard deviation of B: none is found\. Of the scale: 0\.\d\d between optics groups\.", section.points[0]
    )


def test_particles_that_differ_whatever_their_micrograph(tmp_path: Path) -> None:
    _, micrograph = on_micrographs(0, 0.0)
    node = 2 * micrograph.astype(int) + np.arange(len(micrograph)) % 2
    bfactor = np.random.default_rng(3).normal(0.0, 120.0, len(micrograph))
    bfactor -= (np.bincount(node, weights=bfactor) / np.bincount(node))[node]
    section = quality_section(run_with(tmp_path, bfactor, micrograph, 0, strength=6.0), 1)
    assert section.answer.startswith("The signal of particles reaches differently far, whatever their micrograph: at")
    assert re.match(r"Standard deviation of B: 1[0-3]\d Å² between particles; none", section.points[0])
    (drawing,) = section.drawings
    assert drawing.name == "quality_particles" and not section.tables


def test_intervals_of_micrographs_are_not_those_of_their_particles(tmp_path: Path) -> None:
    of_micrographs, micrograph = on_micrographs(1, 80.0)
    own = np.random.default_rng(3).normal(0.0, 120.0, len(micrograph))
    section = quality_section(run_with(tmp_path, of_micrographs + own, micrograph, 1, strength=20.0), 1)
    found = read(tmp_path)
    truth = np.array([(of_micrographs + own)[micrograph == int(n.strip("m_.rc"))].mean() for n in found.name])
    off = (found.bfactor.value - found.bfactor.value.mean() - truth + truth.mean()) / found.bfactor.sd
    assert 0.2 < off.std() < 1.4
    assert [drawing.name for drawing in section.drawings] == ["quality", "quality_particles"]


def test_a_subset_of_other_particles_is_no_answer(tmp_path: Path) -> None:
    folder = run_with(tmp_path, *on_micrographs(5, 80.0), 5)
    subset = folder / "round_1" / "subset.parquet"
    spreads = {"spread_angstrom2": {"micrograph": 80.0, "optics_group": 0.0}, "micrograph_scale_spread": 0.0}
    write_table(subset, read_table(subset).slice(10), settings={"quality": "auto"}, quality=spreads)
    assert quality_section(folder, 1).answer.startswith("Not answered: its 1490 rows are not the 1500 particles")


def test_columns_of_the_file_that_tell_of_ice(tmp_path: Path) -> None:
    columns = particle_columns()
    columns["rlnCtfMaxResolution"] = [3.0 + 0.25 * i for i in range(len(columns["rlnImageName"]))]
    ingest(write_data_set(tmp_path, particles=columns), root=None, pixel_size_angstrom=None, seed=0).write(
        tmp_path / "particles.parquet"
    )
    (values,) = _beside(tmp_path).items()
    assert values[0] == "the resolution of the CTF fit"
    np.testing.assert_allclose(values[1], columns["rlnCtfMaxResolution"])
    assert _beside(tmp_path / "elsewhere") == {}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_goes_with_quality_is_told(tmp_path: Path, sign: float) -> None:
    bfactor, micrograph = on_micrographs(4, 80.0)
    run_with(tmp_path, bfactor, micrograph, 4)
    log, subset = open_round(tmp_path / "log" / "round=1" / "log.parquet"), tmp_path / "round_1" / "subset.parquet"
    spreads = {"micrograph": 80.0, "optics_group": 0.0}
    found = micrographs(log, read_table(subset), spreads, {"the density of the ice ring": sign * bfactor})
    which = "rises" if sign > 0 else "falls"
    told = re.search(rf"B {which} with the density of the ice ring \(rank correlation ([+-]0\.\d\d)\)", _trends(found))
    assert told is not None and sign * float(told[1]) > 0.7
