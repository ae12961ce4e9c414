"""STAR files: values as an independent reader finds them, filters byte for byte, faults named."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryocore.errors import InputError
from cryocore.formats.star import edit_star, filter_star, read_star
from cryocore.formats.star.read import NAME_LABELS
from tests.ingest.samples import N, optics_columns, particle_columns, table, write_data_set

REAL = {
    "star/relion2_3796_poses.star": (3796, "data_"),
    "star/relion30_pfcrt_5.star": (5, "data_images"),
    "star/relion31_6opticsgroups_139.star": (139, "data_particles"),
    "star/relion31_apoferritin_106.star": (106, "data_particles"),
    "star/relion31_magmat_1.star": (1, "data_particles"),
    "star/relion40_subtomo.star": (1746, "data_particles"),
    "star/relion50_spa_17.star": (17, "data_particles"),
    "particles/aspire17/sample_particles_relion30.star": (17, "data_model_class_1"),
    "particles/aspire17/sample_particles_relion31.star": (17, "data_particles"),
    "particles/ribosome_tilts219/sta_testing_bin8.star": (219, "data_"),
    "particles/microtubule5/relion31.star": (5, "data_particles"),
    "particles/empiar10076_7/empiar_10076_7.star": (7, "data_"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_as_another_reader_sees_them(shared_data: Path, name: str) -> None:
    ours = read_star(shared_data / name)
    theirs = starfile.read(shared_data / name, always_dict=True, parse_as_string=sorted(NAME_LABELS))
    assert (len(ours), ours.particle_block) == REAL[name]
    particles = theirs[ours.particle_block.removeprefix("data_")]
    pd.testing.assert_frame_equal(ours.particles, particles, check_dtype=False, rtol=1e-12)
    if ours.optics is not None:
        pd.testing.assert_frame_equal(ours.optics, theirs["optics"], check_dtype=False, rtol=1e-12)
    lines = (shared_data / name).read_text().splitlines()
    assert all(i in lines[n - 1].split() for i, n in zip(ours.particles["rlnImageName"], ours.lines, strict=True))


@pytest.mark.parametrize("name", REAL)
def test_filter_of_real_files(shared_data: Path, tmp_path: Path, name: str) -> None:
    parent, out = shared_data / name, tmp_path / "out.star"
    n, _ = REAL[name]
    filter_star(parent, np.ones(n, dtype=bool), {}, out)
    assert out.read_bytes() == parent.read_bytes()

    keep = np.arange(n) % 3 != 1
    filter_star(parent, keep, {"cryocoreDual": np.arange(keep.sum(), dtype=np.float32) / 7}, out)
    before, after = parent.read_bytes().split(b"\n"), out.read_bytes().split(b"\n")
    rows = {line - 1: i for i, line in enumerate(read_star(parent).lines)}
    expected = [line for i, line in enumerate(before) if i not in rows or keep[rows[i]]]
    added = next(line for line in after if b"cryocoreDual" in line)
    after.remove(added)
    assert len(after) == len(expected)
    assert all(a.startswith(e) for a, e in zip(after, expected, strict=True))
    assert sum(a != e for a, e in zip(after, expected, strict=True)) == keep.sum()
    labels = len(read_star(parent).particles.columns)
    assert added == (b"_cryocoreDual" if "6optics" in name else b"_cryocoreDual #%d" % (labels + 1))
    again = read_star(out)
    np.testing.assert_allclose(again.particles["cryocoreDual"], np.arange(keep.sum()) / 7, rtol=1e-6)
    whole = read_star(parent).particles[keep].reset_index(drop=True)
    pd.testing.assert_frame_equal(again.particles[whole.columns], whole, check_dtype=False)


value = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda x: f"{x:.6f}"),
    st.integers(-(10**6), 10**6).map(str),
    st.from_regex(r"[A-Za-z0-9._/@µ][A-Za-z0-9._/@#'\"µ-]{0,12}", fullmatch=True),
    st.sampled_from(['"a b"', "'c  d'", '"#"', "a#b", "0012", "nan", "1e5"]),
)


@st.composite
def star_files(draw: st.DrawFn) -> tuple[bytes, list[bytes], list[list[str]]]:
    """A file, its rows as bytes, and their values."""
    n_columns = draw(st.integers(2, 5))
    rows = draw(st.lists(st.lists(value, min_size=n_columns, max_size=n_columns), min_size=1, max_size=12))
    new_line = draw(st.sampled_from([b"\n", b"\r\n"]))
    number = draw(st.sampled_from(["", " #{}", " #{} [unit]"]))
    out = [b"# version 30001", b"", b"data_particles", b" ", b"loop_ "]
    labels = ["rlnImageName", *(f"rlnColumn{i}" for i in range(1, n_columns))]
    out += [f"_{label}{number.format(i)}".encode() for i, label in enumerate(labels, start=1)]
    lines = []
    for row in rows:
        out += draw(st.lists(st.sampled_from([b"", b"  ", b"# comment", b" # 1 2"]), max_size=1))
        blank = st.sampled_from(["", " ", "\t", "   "])
        gap = st.sampled_from([" ", "\t", "   "])
        text = draw(blank) + "".join(v + draw(gap) for v in row[:-1]) + row[-1] + draw(blank)
        lines.append(text.encode())
        out.append(lines[-1])
    out += draw(st.sampled_from([[b""], [], [b"", b"data_job", b"_rlnJob 3", b""]]))
    return new_line.join(out), lines, rows


@pytest.mark.slow
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=star_files(), data=st.data())
def test_kept_lines_are_identical_bytes(tmp_path: Path, content: tuple, data: st.DataObject) -> None:
    text, lines, rows = content
    parent, out = tmp_path / "in.star", tmp_path / "out.star"
    parent.write_bytes(text)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    scores = np.array(data.draw(st.lists(st.floats(-1e6, 1e6), min_size=int(keep.sum()), max_size=int(keep.sum()))))

    table_in = read_star(parent).particles
    assert [unquoted(v[0]) for v in rows] == table_in["rlnImageName"].tolist()

    filter_star(parent, keep, {}, out)
    kept = [line for line, k in zip(lines, keep, strict=True) if k]
    new_line = b"\r\n" if b"\r\n" in text else b"\n"
    assert without_rows(text, lines).split(new_line) == without_rows(out.read_bytes(), kept).split(new_line)

    filter_star(parent, keep, {"cryocoreA": scores}, out)
    written = [line for line in out.read_bytes().split(new_line) if any(line.startswith(k + b" ") for k in kept)]
    assert [w.rpartition(b" ")[0] for w in written] == kept
    if keep.any():
        np.testing.assert_allclose(read_star(out).particles["cryocoreA"], scores, rtol=1e-6, atol=1e-30)


def unquoted(text: str) -> str:
    return text[1:-1] if re.fullmatch(r"\"[^\"]*\"|'[^']*'", text) else text


def without_rows(text: bytes, lines: list[bytes]) -> bytes:
    """The file without its rows, each taken out once, in order; they must be there."""
    new_line = b"\r\n" if b"\r\n" in text else b"\n"
    rest, wanted = [], list(lines)
    for line in text.split(new_line):
        if wanted and line == wanted[0]:
            wanted.pop(0)
        else:
            rest.append(line)
    assert not wanted
    while rest and not rest[-1]:  # a last row without line end gets one
        rest.pop()
    return new_line.join(rest)


def test_values_the_common_reader_gets_wrong(tmp_path: Path) -> None:
    star = tmp_path / "odd.star"
    star.write_text(
        "data_images\nloop_\n_rlnImageName #1 [x]\n_rlnMicrographName\n_rlnValue #3\n1@a#1.mrcs 0012 1\n\n# note\n"
        '2@o\'b.mrcs "my disk/m 1.mrc" 2.5\r\n'
    )
    read = read_star(star).particles
    assert read["rlnImageName"].tolist() == ["1@a#1.mrcs", "2@o'b.mrcs"]
    assert read["rlnMicrographName"].tolist() == ["0012", "my disk/m 1.mrc"]
    assert read["rlnValue"].tolist() == [1.0, 2.5]
    assert read_star(star).lines.tolist() == [6, 9]


def test_single_row_blocks(tmp_path: Path) -> None:
    star = tmp_path / "single.star"
    star.write_text(
        "data_optics\n\n_rlnOpticsGroup 1\n_rlnOpticsGroupName  'my group'\n_rlnVoltage 300.0\n\n"
        + table("particles", particle_columns(2))
        + "data_job\n_rlnJob\n"
    )
    read = read_star(star)
    assert read.optics is not None
    assert read.optics.to_dict("list") == {
        "rlnOpticsGroup": [1],
        "rlnOpticsGroupName": ["my group"],
        "rlnVoltage": [300.0],
    }
    assert len(read) == 2
    assert read.notices == ("ignored: data_job",)


def test_extra_columns_of_every_kind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    star, out = write_data_set(tmp_path), tmp_path / "out.star"
    extra = {
        "_cryocoreName": ["a b", "", "#", "c"],
        "cryocoreFlag": np.array([True, False, True, False]),
        "cryocoreCount": np.arange(4),
        "rlnDefocusU": np.zeros(4),
    }
    with caplog.at_level(logging.INFO):
        filter_star(star, np.arange(N) < 4, extra, out)
    assert "replaced rlnDefocusU" in caplog.text
    read = read_star(out).particles
    assert read["cryocoreName"].tolist() == ["a b", "", "#", "c"]
    assert read["cryocoreFlag"].tolist() == [1, 0, 1, 0]
    assert read["cryocoreCount"].tolist() == [0, 1, 2, 3]
    assert read["rlnDefocusU"].tolist() == [0, 0, 0, 0]
    assert read["rlnDefocusV"].tolist() == particle_columns()["rlnDefocusV"][:4]
    with pytest.raises(ValueError, match="rlnDefocusU needs one value for each of 4 kept rows; got 3"):
        filter_star(star, np.arange(N) < 4, {"rlnDefocusU": np.zeros(3)}, out)


def test_edit_changes_the_named_values_only(tmp_path: Path) -> None:
    star, out = write_data_set(tmp_path), tmp_path / "out.star"
    edit_star(star, out, edits={2: {"rlnAngleRot": "1.5", "rlnImageName": "9@x y.mrcs"}})
    before, after = star.read_text().splitlines(), out.read_text().splitlines()
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert changed == [read_star(star).lines[2] - 1]
    old, new = before[changed[0]].split(" "), after[changed[0]].replace("x y", "x_y").split(" ")
    assert [i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b] == [0, 3]
    assert read_star(out).particles["rlnImageName"][2] == "9@x y.mrcs"


def test_the_parent_must_not_have_changed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 8 particles where 7 are expected"):
        filter_star(write_data_set(tmp_path), np.ones(7, dtype=bool), {}, tmp_path / "out.star")
    assert not (tmp_path / "out.star").exists()


GOOD = table("optics", optics_columns()) + table("particles", particle_columns())
LAST = "000008@a.mrcs"
FAULTS: dict[str, tuple[bytes, str]] = {
    "empty": (b" \n\n", "file is empty"),
    "binary": (b"data_\n\0\0", "binary data"),
    "prose": (b"Dear reader,\nhello\n", "no data_ block"),
    "text before": (b"hello\n" + GOOD.encode(), "line 1 stands before its first data_ block"),
    "no table": (
        table("movies", {"rlnVoltage": [300]}).encode(),
        r"no table of particles among its blocks \(data_movies",
    ),
    "no images": (table("particles", {"rlnVoltage": [300]}).encode(), "column rlnImageName: data_particles names no"),
    "two tables": ((table("a", particle_columns()) + table("b", particle_columns())).encode(), "several tables"),
    "block twice": ((GOOD + GOOD).encode(), "block data_optics appears twice"),
    "label twice": (GOOD.replace("AngleTilt", "AngleRot").encode(), "column rlnAngleRot: .* has the column twice"),
    "no rows": (table("particles", {k: [] for k in particle_columns()}).encode(), "has no rows"),
    "ragged short": (GOOD.replace(f"{LAST} ", f"{LAST}").encode(), "row 8: line .* has 11 values for the 12 columns"),
    "ragged long": (GOOD.replace(LAST, f"my {LAST}").encode(), "row 8: .* has 13 values .* put quotes around"),
    "latin-1": (GOOD.replace("m0.mrc", "é.mrc").encode("latin-1"), "not UTF-8 text"),
    "old Mac": (GOOD.replace("\n", "\r").encode(), "carriage returns"),
    "stray line": (b"data_optics\nhello\n", "line 2 in data_optics is neither loop_ nor a label"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_refused_files(tmp_path: Path, fault: str) -> None:
    content, message = FAULTS[fault]
    star = tmp_path / "bad.star"
    star.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_star(star)
    assert str(star) in str(error.value)


def test_refused_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"):
        read_star(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_star(tmp_path / "no.star")


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=200), st.text("data_loop_# \n\"'1@.\t", max_size=200).map(str.encode)))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    star = tmp_path / "any.star"
    star.write_bytes(b"data_\nloop_\n_rlnImageName\n_rlnA\n" + content)
    try:
        read = read_star(star)
    except InputError:
        return
    assert len(read) == len(read.lines) == len(read.particles)
