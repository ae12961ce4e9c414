"""Text logs: every usual prefix and order is read, and what is not is listed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cryocore.errors import InputError
from cryocore.explore.replay import Request, replay
from cryocore.explore.replay.import_log import COLUMNS, SCHEMA, import_log, read_text_log
from cryocore.geometry.rotations import matrix_to_quaternion, random_rotations
from cryocore.log.rounds import find_rounds
from cryocore.tables.io import read_table

Q = "0.5 -0.5 0.5 -0.5"
LABELS, NUMBERED = "loss flag qw qx qy qz", f"number {COLUMNS}"
PARTICLES = [
    (f"{Q} 1 0.25", COLUMNS, 1, 0),
    (f"INFO:root:{Q} 1 0.25", COLUMNS, 1, 0),
    (f"INFO:root:[{Q}] True 2.5e-1", COLUMNS, 1, 0),
    (f"DEBUG:train.fit2:{Q} 0 .25", COLUMNS, 0, 0),
    (f"2021-03-04 12:00:01,123 INFO {Q} False 0.25", COLUMNS, 0, 0),
    (f"2021-03-04 12:00:01,123 - root - INFO - {Q.replace(' ', ',')},1,0.25", COLUMNS, 1, 0),
    (f"2021-03-04 12:00:01 INFO fit.py:33 - q: ({Q.replace(' ', ', ')}), correct: 0, loss: 0.25", COLUMNS, 0, 0),
    (f"[2021-03-04 12:00:01] INFO root: 17 {Q} 1.0 0.25", NUMBERED, 1, 17),
    (f"INFO     root:log.py:12 {Q} 1 0.25", COLUMNS, 1, 0),
    (f"INFO 2021-03-04 12:00:01 {Q} 1 0.25", COLUMNS, 1, 0),
    (f"12:00:01 {Q} nan 0.25", COLUMNS, None, 0),
    ("INFO:root:tensor([0.5, -0.5, 0.5, -0.5], device='cuda:0') tensor(True) tensor(0.25)", COLUMNS, 1, 0),
    (f"INFO loss: 0.25 is_correct: 1 quaternion: [{Q}]", LABELS, 1, 0),
    ("WARNING:root:particle=12 qw=0.5 qx=-0.5 qy=0.5 qz=-0.5 false 0.25", NUMBERED, 0, 12),
    ("7;0.25;0;-0.5;0.5;-0.5;0.5;99", "number loss flag qx qy qz qw -", 0, 7),
]
FAULTS = [
    (f"INFO:root:{Q} 2 0.1", "flag is 2"),
    ("INFO:root:0.5 0.5 0.1", "3 values"),
    ("INFO:root:0 0 0 0 1 2", "norm is 0"),
    (f"INFO:root:{Q} 1 0.1.2", "5 values"),
    (f"INFO:root:{Q} 1 0.1 0.2 0.3", "8 values"),
]


@pytest.mark.parametrize(("line", "columns", "flag", "number"), PARTICLES)
def test_prefixes_orders_and_labels(line: str, columns: str, flag: int | None, number: int, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(line)
    (found,) = read_text_log(tmp_path / "a.log", columns).to_dict("records")
    assert (found["kind"], [found[f"q{c}"] for c in "wxyz"]) == ("particle", [0.5, -0.5, 0.5, -0.5])
    assert (found["loss"], found["number"]) == (0.25, number)
    assert found["flag"] == flag or (flag is None and np.isnan(found["flag"]))


@pytest.mark.parametrize("columns", ["qw qx qy qz flag", f"{COLUMNS} loss", f"{COLUMNS} psi"])
def test_columns_that_are_not_those_of_a_log_are_refused(columns: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="are not the columns of a text log"):
        read_text_log(tmp_path / "a.log", columns)


def written(path: Path, n: int = 200, header: str = "", seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A log of ``n`` particles; their quaternions, flags and losses, lower for correct ones."""
    rng = np.random.default_rng(seed)
    quaternions, correct = matrix_to_quaternion(random_rotations(n, rng)), rng.random(n) < 0.7
    loss = rng.normal(size=n) + np.where(correct, 0.0, 4.0)
    rows = zip(quaternions, correct, loss, strict=True)
    lines = [f"INFO:root:{' '.join(f'{v:.9f}' for v in q)} {int(f)} {x:.7f}" for q, f, x in rows]
    with path.open("a") as file:
        file.write("\n".join([*([header] if header else []), *lines]) + "\n")
    return quaternions, correct, loss


def test_an_imported_log_is_a_log(tmp_path: Path, small_run: Path) -> None:
    quaternions, correct, loss = written(tmp_path / "old.log")
    found = import_log([tmp_path / "old.log"], tmp_path / "new", symmetry="C4")
    assert found.n_particles == {0: 200} and found.n_malformed == 0 and found.listed is None
    table = read_table(tmp_path / "new" / "log" / "round=0" / "log.parquet")
    real = pq.read_schema(small_run / "log" / "round=0" / "log.parquet")
    assert table.schema.names == SCHEMA.names == [*real.names, "is_correct"]
    lists = [f.name for f in SCHEMA if "list" in str(f.type)]
    assert [f.type for f in table.schema if f.name in real.names and f.name not in lists] == [
        f.type for f in real if f.name not in lists
    ]
    np.testing.assert_allclose(table["quat_w"], quaternions[:, 0], atol=1e-8)
    np.testing.assert_allclose(table["l2_loss"], loss, atol=1e-6)
    assert table["is_correct"].to_pylist() == correct.tolist()
    assert len(set(table["particle_id"].to_pylist())) == 200
    assert table["zc"].null_count == table["weight"].null_count == 200
    (outcome,) = replay(tmp_path / "new", [Request(rule="fraction", values=(0.7,), score="l2_loss")])
    assert outcome.rates is not None and outcome.rates.correct_rate is not None and outcome.rates.correct_rate > 0.9
    best = np.argsort(loss[::2])[:70]
    np.testing.assert_array_equal(np.flatnonzero(outcome.kept[::2]), np.sort(best))
    assert outcome.views is not None and outcome.overlap is None and outcome.prediction is None


def test_conventions_of_quaternions(tmp_path: Path) -> None:
    quaternions, *_ = written(tmp_path / "old.log", 20)
    turned = tmp_path / "turned.log"
    rows = [f"{x} {y} {z} {w} 1 0" for w, x, y, z in quaternions * (1.0, -1.0, -1.0, -1.0)]
    turned.write_text("\n".join(rows))
    import_log([tmp_path / "old.log"], tmp_path / "a")
    import_log([turned], tmp_path / "b", columns="qx qy qz qw flag loss", inverse=True)
    a, b = (read_table(tmp_path / n / "log" / "round=0" / "log.parquet") for n in "ab")
    for name in ("quat_w", "quat_z", "view_x", "view_z"):
        np.testing.assert_allclose(a[name], b[name], atol=1e-7)


def test_malformed_lines_are_listed_and_the_places_of_others_stay(tmp_path: Path) -> None:
    written(tmp_path / "whole.log")
    lines = (tmp_path / "whole.log").read_text().splitlines()
    bad = [line for line, _ in FAULTS[:3]]
    broken = ["INFO:root:loading the model", lines[0], bad[0], *lines[2:100], bad[1], bad[2], *lines[102:], ""]
    (tmp_path / "broken.log").write_text("\n".join(broken))
    import_log([tmp_path / "whole.log"], tmp_path / "whole")
    found = import_log([tmp_path / "broken.log"], tmp_path / "part", most_malformed=0.02)
    assert (found.n_particles, found.n_malformed, found.n_messages) == ({0: 197}, 3, 1)
    assert found.listed is not None
    listed = [line.split("\t") for line in found.listed.read_text().splitlines()]
    assert [(row[1], row[2], row[4]) for row in listed[1:]] == [
        ("1", "message", "INFO:root:loading the model"),
        *((str(n), "malformed", text) for n, text in zip((3, 102, 103), bad, strict=True)),
    ]
    whole, part = (read_table(tmp_path / n / "log" / "round=0" / "log.parquet") for n in ("whole", "part"))
    kept = [i for i in range(200) if i not in (1, 100, 101)]
    for name in ("particle_id", "half", "l2_loss"):
        assert part[name].to_pylist() == [whole[name].to_pylist()[i] for i in kept]
    with pytest.raises(InputError, match="3 of 200 lines are malformed; line 3: the flag is 2"):
        import_log([tmp_path / "broken.log"], tmp_path / "part")


@pytest.mark.parametrize(("line", "why"), FAULTS)
def test_why_a_line_is_malformed(line: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(f"{Q} 1 0.5\n{line}\n")
    _, fault = read_text_log(tmp_path / "a.log").to_dict("records")
    assert (fault["line"], fault["text"], fault["kind"]) == (2, line, "malformed")
    assert why in fault["why"]


def test_iterations_in_one_file_or_in_several(tmp_path: Path) -> None:
    for number in range(2):
        written(tmp_path / "one.log", 30, f"INFO:root:iteration {number + 3}", seed=number)
        written(tmp_path / f"{number}.log", 30, seed=number)
    one = import_log([tmp_path / "one.log"], tmp_path / "one")
    two = import_log([tmp_path / "0.log", tmp_path / "1.log"], tmp_path / "two")
    assert (one.n_particles, two.n_particles) == ({3: 30, 4: 30}, {0: 30, 1: 30})
    for a, b in zip(one.files, two.files, strict=True):
        assert read_table(a).equals(read_table(b))
    first, second = (r.read(["particle_id"])["particle_id"] for r in find_rounds(tmp_path / "one"))
    np.testing.assert_array_equal(first, second)
    assert json.dumps(find_rounds(tmp_path / "one")[0].metadata["round"]) == "3"


def test_a_file_without_particles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("INFO:root:hello\n")
    with pytest.raises(InputError, match="no line is a particle"):
        import_log([tmp_path / "a.log"], tmp_path / "out")
    (tmp_path / "b.log").write_bytes(b"\0\1\2")
    with pytest.raises(InputError, match="not a text file"):
        import_log([tmp_path / "b.log"], tmp_path / "out")
