"""Particles of a run refined anew by a program that does as RELION does: begun, broken off, continued, compared."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from cryocore.config.refine import Refine
from cryocore.errors import InputError
from cryocore.formats.kinds import read_tables
from cryocore.formats.star_out import write_star
from cryocore.ingest.particles import read_particles
from cryocore.maps.mrc import read_map
from cryocore.refine import compare, refine
from cryocore.refine.relion import alone
from cryocore.refine.stage import with_stacks_of_relion
from cryocore.tables.io import write_table

PROGRAM = f"{sys.executable} -m tests.refine.relion"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def refined(run: Path, out: Path, which: str = "all", **changes: object) -> list[str]:
    """Refine, and the calls of the program until now."""
    settings = Refine(program=PROGRAM, **changes)
    refine(run, which, out, settings=settings, symmetry="C1", threads=2)
    return (out / "relion" / "calls.txt").read_text().splitlines()


def test_both_lists_are_refined_from_the_same_start_and_compared(run: Path, tmp_path: Path) -> None:
    for which in ("all", "recommended"):
        (call,) = refined(run, tmp_path / which, which, options="--pool 30", low_pass_angstrom=40.0)
        options = call.split()
        assert options[options.index("--ini_high") + 1] == "40" and "--pool 30" in call and "--j 2" in call
        assert options[options.index("--ref") + 1] == str((run / "round_0" / "map.mrc").resolve())
        assert options[options.index("--healpix_order") + 1] == options[options.index("--auto_local_healpix_order") + 1]
    compare([tmp_path / "all", tmp_path / "recommended"], tmp_path)
    found = json.loads((tmp_path / "refine.json").read_text())
    assert [found[name]["n_particles"] for name in found] == [600, 420]
    assert [found[name]["round"] for name in found] == [0, 1]
    assert all(found[name]["turned_deg"] == pytest.approx([1.0, 1.0, 1.0], abs=1e-3) for name in found)
    assert found["all"]["fsc_given"] != found["recommended"]["fsc_given"]
    assert found["all"]["resolution_refined_angstrom"] > found["all"]["resolution_given_angstrom"]
    assert "recommended" in (tmp_path / "refine.txt").read_text() and (tmp_path / "refine.svg").exists()
    assert read_map(tmp_path / "all" / "half1.mrc")[1] == pytest.approx(4.0)


def test_it_goes_on_where_it_was(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL_AT", "2")
    with pytest.raises(InputError, match=r"relion\.log: .* ended with code 1: ERROR: / no room on the dev"):
        refined(run, tmp_path, options="--pool 4")
    monkeypatch.delenv("FAIL_AT")
    monkeypatch.setenv("STOP_IN", "3")
    with pytest.raises(InputError, match="ended while it wrote"):
        refined(run, tmp_path, options="--pool 4")
    monkeypatch.delenv("STOP_IN")
    first, *after = refined(run, tmp_path, options="--pool 4")
    assert "--auto_refine" in first
    for call in after:  # the third iteration was not whole
        assert f"--continue {tmp_path}/relion/run_it002_optimiser.star" in call and call.endswith("--pool 4")
    assert len(refined(run, tmp_path, options="--pool 4")) == 3  # finished: not begun again
    (only,) = refined(run, tmp_path, healpix_order=5)  # another refinement
    assert "--auto_refine" in only


def test_one_at_a_time_even_if_its_job_was_killed(run: Path, tmp_path: Path) -> None:
    (tmp_path / "relion").mkdir()
    with alone(tmp_path / "relion") as lock:
        child = subprocess.Popen(["sleep", "600"], pass_fds=(lock,))
    with child:
        with pytest.raises(InputError, match=r"relion: a refinement is at work there"):
            refined(run, tmp_path)
        child.kill()
    assert len(refined(run, tmp_path)) == 1


def test_a_program_that_is_not_there(run: Path, tmp_path: Path) -> None:
    settings = Refine(program="mpirun_of_nobody -n 3 relion_refine_mpi")
    with pytest.raises(InputError, match=r"refine\.program.*there is no program mpirun_of_nobody"):
        refine(run, "all", tmp_path, settings=settings, symmetry="C1", threads=2)


def test_the_program_ends_with_the_job(tmp_path: Path) -> None:
    written = tmp_path / "process_id"
    text = f"""
from pathlib import Path
from cryocore.refine.relion import started
with started(["sh", "-c", "sleep 600 & echo $! > {written}; wait"], Path("/")) as process:
    process.wait()
"""
    with subprocess.Popen([sys.executable, "-c", text]) as job:
        while not written.exists() or not written.read_text().strip():
            time.sleep(0.02)
        job.terminate()
        assert job.wait(30) == 128 + signal.SIGTERM
    until = time.monotonic() + 10
    while Path(f"/proc/{written.read_text().strip()}").exists():  # what the program itself has started
        assert time.monotonic() < until
        time.sleep(0.02)


def copied(run: Path, folder: Path, **changes: Any) -> Path:
    """The run with other particles: its stack named as cryoSPARC names them, and changes of their optics."""
    shutil.copytree(run, folder)
    made = folder / "simulated"
    (made / "particles.mrcs").rename(made / "particles.mrc")
    text = (made / "particles.star").read_text().replace("particles.mrcs", "particles.mrc")
    (made / "particles.star").write_text(text)
    data = read_particles(made / "particles.star", root=None, pixel_size_angstrom=None, seed=0)
    replace(data, optics=tuple(replace(o, **changes) for o in data.optics)).write(folder / "particles.parquet")
    shutil.rmtree(folder / "round_1")
    write_table(folder / "rounds.parquet", pa.table({"round": [0], "is_recommended": [True]}))
    return folder


def test_stacks_have_names_that_relion_takes(run: Path, tmp_path: Path) -> None:
    refined(copied(run, tmp_path / "run"), tmp_path / "out")
    names = read_tables(tmp_path / "out" / "given.star").particles["rlnImageName"]
    (link,) = {Path(name.split("@")[1]) for name in names}
    assert link.suffix == ".mrcs" and link.resolve() == (tmp_path / "run" / "simulated" / "particles.mrc").resolve()


def test_formats_behind_names_of_stacks(tmp_path: Path) -> None:
    """RELION takes a.mrc:mrcs as it is; another format needs a link, to the file without it."""
    (tmp_path / "images").mkdir()
    write_star(pd.DataFrame({"rlnImageName": ["1@images/a.mrc:mrcs", "1@images/b.st:st"]}), None, tmp_path / "a.star")
    with_stacks_of_relion(tmp_path / "a.star", tmp_path, tmp_path)
    kept, link = (name.split("@")[1] for name in read_tables(tmp_path / "a.star").particles["rlnImageName"])
    assert kept == "images/a.mrc:mrcs" and Path(link).resolve() == tmp_path / "images" / "b.st"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_sign": -1}, "protein is dark in the images; RELION takes it to be bright"),
        ({"pixel_size_angstrom": 5.0}, "the file says 4 Å a pixel, the configuration 5: RELION would take the file's"),
    ],
)
def test_images_that_relion_would_take_for_others(
    run: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        refined(copied(run, tmp_path / "run", **changes), tmp_path / "out")


@pytest.mark.parametrize("text", ["mpirun '", "  "])
def test_words_that_no_shell_takes(text: str) -> None:
    with pytest.raises(ValueError, match=r"No closing quotation|blank"):
        Refine(program=text)
