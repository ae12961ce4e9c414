"""Names are names: nothing in a file or a configuration is run, written elsewhere, or read by others meanwhile."""

from __future__ import annotations

import os
import re
import shlex
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest

from cryocore.backend.cpu import _cache_directory
from cryocore.commands.edge import _paragraph
from cryocore.errors import InputError
from cryocore.formats.roots import recorded_roots
from cryocore.formats.star import edit_star, read_star
from cryocore.formats.star.write import format_value
from cryocore.tables.io import atomic_path
from tests.ingest.samples import N, noise_images, particle_columns, write_data_set, write_mrc
from tests.workflow.conftest import Workflow, fresh_copy

ROOT = Path(__file__).resolve().parents[2]
NAME = "a $(touch canary);`touch canary`&'b' \"c\" | x"
STACK = "s;$(touch`canary`)|&<x>.mrcs"


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """A folder of particles, mask and map whose names are commands of a shell, and a configuration that names them."""
    made = fresh_copy(tmp_path_factory.mktemp("names"))
    folder = made.work / NAME
    folder.mkdir()
    columns = particle_columns() | {"rlnImageName": [f"{i + 1}@{STACK}" for i in range(N)]}
    write_mrc(folder / STACK, noise_images(), pixel_size=1.5)
    write_data_set(folder, particles=columns).rename(folder / f"{folder.name}.star")
    for name in ("mask.mrc", "map.mrc"):
        (folder / f"{folder.name} {name}").touch()
    files = {"star": f"{folder.name}.star", "true_map": f"{folder.name} map.mrc"}
    made.configure(
        run="names",
        symmetry="C1",
        n_rounds=1,
        backend="cpu",
        input={"plant": {"junk": 0.25}, **{k: f"{folder.name}/{v}" for k, v in files.items()}},
        reconstruct={"mask": f"{folder.name}/{folder.name} mask.mrc"},
    )
    return made


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if ".snakemake" not in path.parts}


@pytest.mark.slow
def test_commands_of_all_jobs_hold_names_as_single_words(workflow: Workflow) -> None:
    text = workflow.snakemake("--dry-run", "--printshellcmds", "--configfile", "my.yaml").stdout
    commands = [shlex.split(c) for c in re.findall(r"(?:Shell command: |^ +)(CRYOCORE_LOG=.*)$", text, re.MULTILINE)]
    asked = {"plant.py": ".star", "reconstruct.py": " mask.mrc", "validate.py": " map.mrc"}
    for script, end in asked.items():
        words = [c for c in commands if any(word.endswith(script) for word in c)]
        assert words and any(f"{NAME}/{NAME}{end}" in c for c in words), script
    assert not (workflow.work / "canary").exists()


@pytest.mark.slow
def test_a_job_writes_into_its_run_and_nowhere_else(workflow: Workflow) -> None:
    before = listing(workflow.work), listing(workflow.code)
    workflow.snakemake("results/names/planted/particles.star", "--configfile", "my.yaml")
    made = {path for path in listing(workflow.work) - before[0] if "/" in path and path.count("/") > 1}
    assert "results/names/planted/junk.mrcs" in made
    assert all(path.startswith(("results/names/", "logs/names/")) for path in made)
    assert listing(workflow.work) - before[0] - made <= {"results", "logs", "results/names", "logs/names"} | {
        f"logs/names/plant.{kind}" for kind in ("log", "tsv")
    }
    assert {path for path in listing(workflow.code) - before[1] if "__pycache__" not in path} == set()
    planted = read_star(workflow.work / "results/names/planted/particles.star").particles["rlnImageName"]
    assert sum(name.endswith(STACK) for name in planted) == 6 and sum("junk.mrcs" in name for name in planted) == 2


def test_a_key_given_twice_is_no_silent_choice(workflow: Workflow) -> None:
    (workflow.work / "twice.yaml").write_text("run: a\nseed: 1\nseed: 2\n")
    done = workflow.snakemake("--dry-run", "--configfile", "twice.yaml", check=False)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert "twice.yaml: not YAML: line 3: the key seed is there twice. Correct the line." in done.stdout


VALUES = (
    *("a b", "it's", '5" map', "'quoted'", '"quoted"', "#1", "_rlnX", "data_x", "loop_", ";", "$(id)", "`id`", "-rf"),
    *("a\tb", "a;b", "[x]", "é", "data_", "Global_", "x #1", "''", '""', "a'b\"c", "\\n", "*", "~"),
)


@pytest.mark.parametrize("value", VALUES)
def test_values_are_read_as_they_were_written(tmp_path: Path, value: str) -> None:
    columns = particle_columns()
    first = {"rlnMicrographName": columns.pop("rlnMicrographName"), **columns}
    star, out = write_data_set(tmp_path, particles=first), tmp_path / "out.star"
    edit_star(star, out, edits={0: {"rlnMicrographName": value}, 7: {"rlnImageName": f"1@{value}"}})
    found = read_star(out).particles
    assert (found["rlnMicrographName"][0], found["rlnImageName"][7]) == (value, f"1@{value}")
    assert found["rlnAnglePsi"].tolist() == columns["rlnAnglePsi"]


@pytest.mark.parametrize("value", ["a\nb", "a\r", "x\0", "it's \"b", "a\u2028b", "a\x0b_rlnX", "a\x85b"])
def test_values_that_break_lines_are_refused(value: str) -> None:
    with pytest.raises(InputError, match="cannot be written to a STAR file"):
        format_value(value)


@pytest.mark.parametrize("name", ["x\ndata_y", "my_data_optics", "50 %41 #1", " # version 2 ", "x\u2028y", "\udc80"])
def test_a_folder_in_a_comment_stays_one_line_and_no_block(tmp_path: Path, name: str) -> None:
    """RELION finds ``data_`` and ``# version`` anywhere in a line, comments included."""
    star, folder = write_data_set(tmp_path), tmp_path / name
    edit_star(star, tmp_path / "out.star", root=str(folder))
    lines = (tmp_path / "out.star").read_bytes().split(b"\n")
    assert lines[2:] == star.read_bytes().split(b"\n")
    assert not any(b"data_" in line or b"# version" in line for line in lines[:2])
    assert recorded_roots(tmp_path / "out.star") == [str(folder)] * 2


def test_files_are_private_until_they_are_whole(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        with atomic_path(tmp_path / "a.npz") as temporary:
            np.savez(temporary, x=np.zeros(3))
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "a.npz").stat().st_mode) == 0o644
    finally:
        os.umask(mask)


def test_compiled_kernels_come_from_no_folder_of_everybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, private = tmp_path / "shared", tmp_path / "tmp"
    shared.mkdir(), private.mkdir()
    shared.chmod(0o777)
    monkeypatch.setenv("CRYOCORE_CACHE_DIR", str(shared))
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    found = _cache_directory()
    assert found.parent == private and stat.S_IMODE(found.stat().st_mode) == 0o700
    found.chmod(0o777)
    with pytest.raises(InputError, match="no private cache directory"):
        _cache_directory()


def test_names_command_no_terminal() -> None:
    assert _paragraph("\x1b[31m1@x.mrcs\x07 é") == "\n\\x1b[31m1@x.mrcs\\x07 é\n"


FORBIDDEN = {
    r"yaml\.(unsafe_|full_)?load\((?!.*Loader=_Loader)": "YAML that makes objects",
    r"\b(import|from) (pickle|dill|joblib|marshal|shelve)\b|allow_pickle=True": "pickles",
    r"shell=True|os\.(system|popen)\(|getoutput\(": "a shell",
    r"(?<![\w.])(eval|exec)\(": "text that is run",
    r"np\.load\((?!.*(allow_pickle=False|mmap_mode))": "arrays that may be pickles",
    r"torch\.load\((?!.*weights_only=True)": "tensors that may be pickles",
    r"\bmktemp\(|NamedTemporaryFile\(": "temporary files beside atomic_path",
}


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_the_code_has_none_of(pattern: str) -> None:
    files = [file for folder in ("cryocore", "scripts") for file in sorted((ROOT / folder).rglob("*.py"))]
    found = [f"{f.name}: {line}" for f in files for line in f.read_text().splitlines() if re.search(pattern, line)]
    assert not found, FORBIDDEN[pattern]


def test_rules_quote_what_they_put_into_commands() -> None:
    plain = r"\{(threads|wildcards\.r|resources\.\w+)\}"
    for file in (ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))):
        for block in re.findall(r"\n    shell:\n((?:        .*\n)+)", file.read_text()):
            fields = re.findall(r"(?<!\{)\{[^{}]+\}(?!\})", block)
            assert fields or "python" not in block
            bare = [f for f in fields if not f.endswith(":q}") and not re.fullmatch(plain, f)]
            assert not bare, f"{file.name}: {bare}"
