"""The comparison of selectors: methods as files, their numbers by particle, and the page."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cryocore.errors import InputError
from cryocore.formats.star_out import write_star
from cryocore.ingest.particles import particle_ids
from cryocore.maps.curves import FscCurves
from cryocore.maps.mrc import write_map
from cryocore.tables.io import write_table
from experiments.runs import configuration
from experiments.selectors import measure
from experiments.selectors.measure import code, fingerprint
from experiments.selectors.methods import Method, Missing, call, choices_of, column_of, read_methods, scores_of
from experiments.selectors.page import losses, order, rows_of, section
from experiments.selectors.sets import places, read_sets, resolved_angstrom, write_one_table

NAMES = [f"{i + 1:06d}@particles.mrcs" for i in range(4)]
IDS = particle_ids(NAMES)
SIMULATED = next(case for case in read_sets() if case.name == "small-state-seed1")
"""A set without files of the shared data."""


def method(tmp_path: Path, **changes: Any) -> Method:
    file = tmp_path / "mine.yaml"
    values = {"label": "mine", "by": "chance", "command": "true", "scores": {}} | changes
    file.write_text("".join(f"{name}: {value!r}\n" for name, value in values.items()))
    return Method.read(file)


def test_every_method_and_every_set_can_be_read() -> None:
    methods = read_methods()
    names = [found.name for found in methods]
    for found in methods:
        assert (found.scores or found.weights) and found.label and found.by
        assert not found.after or names.index(found.after) < names.index(found.name)
    cases = read_sets()
    assert len({case.name for case in cases}) == len(cases) >= 30
    assert configuration(SIMULATED).seed == 201


def test_numbers_depend_on_settings_method_modules_and_what_they_go_on_from(tmp_path: Path) -> None:
    base, alone = method(tmp_path), method(tmp_path, label="mine, too")
    by_module = replace(alone, command="python -m experiments.selectors.cistem {home}")
    after = replace(alone, after="mine")
    found = [
        fingerprint(SIMULATED),
        fingerprint(SIMULATED, base),
        fingerprint(SIMULATED, alone),
        fingerprint(SIMULATED, by_module),
        fingerprint(SIMULATED, after, [base]),
        fingerprint(SIMULATED, after, [replace(base, digest="another")]),
        fingerprint(replace(SIMULATED, config=SIMULATED.config | {"seed": 7}), alone),
    ]
    assert len(set(found)) == len(found)
    assert "experiments/selectors/cistem.py" in code(*by_module.modules)
    assert not any("selectors/methods/" in file for file in code())  # another method is no reason to measure again


def test_what_is_measured_stays_until_it_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, done = tmp_path / "set.json", []
    said: dict[str, Any] = {"scores": {}, "cost": {"cpu_s": 1.0}}

    def measures(found: Method, *_: Any) -> dict[str, Any]:
        done.append(found.name)
        return said

    monkeypatch.setattr(measure, "prepare", lambda *_: None)
    monkeypatch.setattr(measure, "sizes", lambda _: {1: 1, 2: 1})
    monkeypatch.setattr(measure, "baselines", lambda *_: {})
    monkeypatch.setattr(measure, "measured_method", measures)
    made, data = SimpleNamespace(correct=np.ones(4, dtype=bool)), MagicMock(ids=IDS)
    monkeypatch.setattr(measure, "as_run", lambda *_: nullcontext((made, data)))
    base, other = method(tmp_path), replace(method(tmp_path), name="other", digest="1")
    after = replace(other, name="after", after="mine")

    def run(*methods: Method) -> list[str]:
        done.clear()
        measure.measure(SIMULATED, configuration(SIMULATED), tmp_path, methods, file, cores=1)
        return list(done)

    assert run(base, other, after) == ["mine", "other", "after"]
    assert run(base, other, after) == []
    assert run(base, replace(other, digest="2"), after) == ["other"]
    assert run(base, replace(after, digest="2")) == ["mine", "after"]  # with what it goes on from
    stored = json.loads(file.read_text())["methods"]
    said = {"skipped": "not here"}
    assert run(base, replace(other, digest="3"), replace(after, digest="2")) == ["other"]
    assert json.loads(file.read_text())["methods"] == stored  # numbers are not lost to a program that is missing
    new = replace(other, name="new")
    assert run(new) == run(new) == ["new"]  # tried again each time


def test_commands_name_only_places_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tmp_path / "results" / "run" / "round_0"
    first.mkdir(parents=True)
    ball = (np.sum((np.indices((16,) * 3) - 8) ** 2, axis=0) <= 25).astype(np.float32)
    write_map(first / "mask.mrc", ball, 2.0)
    curve = np.linspace(1.0, 0.0, 9)
    read = SimpleNamespace(corrected=curve, resolution_angstrom=32.0 / np.arange(1, 10))
    monkeypatch.setattr(FscCurves, "read", lambda path: read)
    given = places(tmp_path, configuration(SIMULATED), tmp_path / "out")
    assert given["diameter"] == "30" and given["pixel"] == "2" and given["box"] == "16"
    for found in read_methods():
        found.command.format_map(given)
        found.setup.format_map(given)
        found.maps.format_map(given)
        for where in [*found.scores.values(), *([found.weights] if found.weights else [])]:
            where["file"].format_map(given)


def test_a_file_that_is_no_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a method.*colour"):
        method(tmp_path, colour="red")


def test_a_star_file_in_any_order_with_gaps(tmp_path: Path) -> None:
    """Paths before the name of the stack do not matter; a particle that is missing is NaN."""
    images = ["000003@some/where/particles.mrcs", "000001@some/where/particles.mrcs", "000004@particles.mrcs"]
    write_star(pd.DataFrame({"rlnImageName": images, "myScore": [3.0, 1.0, 4.0]}), None, tmp_path / "scored.star")
    found = column_of(tmp_path / "scored.star", "_myScore", IDS)
    np.testing.assert_array_equal(found, [1.0, np.nan, 3.0, 4.0])


def test_a_file_without_any_of_the_particles_is_refused(tmp_path: Path) -> None:
    others = pd.DataFrame({"rlnImageName": ["000001@renamed.mrcs"], "myScore": [1.0]})
    write_star(others, None, tmp_path / "others.star")
    with pytest.raises(InputError, match=r"others\.star: none of the particles"):
        column_of(tmp_path / "others.star", "myScore", IDS)
    signed = pa.table({"particle_id": IDS.astype(np.int64), "score": [1.0, 2.0, 3.0, 4.0]})
    write_table(tmp_path / "signed.parquet", signed)
    np.testing.assert_array_equal(column_of(tmp_path / "signed.parquet", "score", IDS), [1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize("wrong", [{"q": {"file": "x"}}, {"q": {"file": "x", "column": "y", "better": "more"}}, [1]])
def test_a_score_lacks_nothing(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a method"):
        method(tmp_path, scores=wrong)


def test_resolution_ends_with_the_longest_run_of_shells() -> None:
    """A dip at low resolution, as real background has, is no end."""
    curve = np.array([1.0, 0.9, 0.1, 0.8, 0.8, 0.7, 0.5, 0.1, 0.0, 0.2])
    shells = np.concatenate([[np.inf], 100.0 / np.arange(1, 10)])
    dipped = SimpleNamespace(corrected=curve, resolution_angstrom=shells)
    assert 100 / 7 < resolved_angstrom(dipped) < 100 / 6  # type: ignore[arg-type]


def test_the_lower_the_better_is_turned_round(tmp_path: Path) -> None:
    columns = {"particle_id": IDS[::-1], "loss": [4.0, 3.0, 2.0, 1.0], "a": [1.0, 0.0, 1.0, 1.0], "b": [0.0] * 4}
    write_table(tmp_path / "found.parquet", pa.table(columns))
    file = "{out}/found.parquet"
    scores = {"loss": {"file": file, "column": "loss", "better": "lower"}}
    mine = method(tmp_path, scores=scores, weights={"file": file, "columns": ["a", "b"]})
    named = {"home": str(tmp_path), "out": str(tmp_path)}
    ((name, values),) = scores_of(mine, named, IDS)
    assert name == "loss"
    np.testing.assert_array_equal(values, [-1.0, -2.0, -3.0, -4.0])
    np.testing.assert_array_equal(choices_of(mine, named, IDS), [[1.0, 1.0, 0.0, 1.0], [0.0] * 4])


def test_cost_is_that_of_the_command_alone(tmp_path: Path) -> None:
    program = tmp_path / "busy.py"
    program.write_text("import time\nx = bytearray(200 << 20)\nend = time.process_time() + 0.5\n"
                       "while time.process_time() < end: pass\n")  # fmt: skip
    here = {"folder": str(tmp_path), "program": str(program), "python": sys.executable}
    cost = call(method(tmp_path, command="{python} {program}"), here, tmp_path / "busy.log")
    assert 0.5 < cost.cpu_s < 3.0
    assert 0.19 < cost.gib < 0.26
    light = call(method(tmp_path, command="true"), here, tmp_path / "light.log")
    assert light.gib < 0.05
    with pytest.raises(RuntimeError, match=r"busy\.log"):
        call(method(tmp_path, command="false"), here, tmp_path / "busy.log")
    with pytest.raises(Missing, match="no-such-program"):
        call(method(tmp_path, needs="no-such-program"), here, tmp_path / "busy.log")


def test_one_table_has_what_was_in_the_optics_groups(tmp_path: Path) -> None:
    particles = pd.DataFrame(
        {"rlnImageName": NAMES, "rlnOpticsGroup": 1, "rlnOriginXAngst": 3.0, "rlnOriginYAngst": 1.0}
    )
    optics = {"rlnOpticsGroup": 1, "rlnVoltage": 300.0, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.1}
    star = tmp_path / "particles.star"
    write_star(particles, pd.DataFrame({**optics, "rlnImagePixelSize": 1.5}, index=[0]), star)
    write_one_table(star)
    one = tmp_path / "particles_one_table.star"
    np.testing.assert_allclose(column_of(one, "rlnOriginX", IDS), 2.0)
    np.testing.assert_allclose(column_of(one, "rlnVoltage", IDS), 300.0)
    pixel = 1e4 * column_of(one, "rlnDetectorPixelSize", IDS) / column_of(one, "rlnMagnification", IDS)
    np.testing.assert_allclose(pixel, 1.5)


def result(name: str, seed: int, auc: float, area: float, own: float) -> dict[str, Any]:
    said = {"n": 700, "right": 0.9, "area": area}
    cost = {"cpu_s": 2.0, "gib": 0.1}
    baselines: dict[str, Any] = {kind: {"n": 1000, "right": 0.7, "area": 0.5} for kind in ("all", "random", "correct")}
    methods = {
        "cryocore": {"cost": cost, "scores": {"mixture": {"auc": 0.9, **said}}, "own": {**said, "area": own}},
        "janas": {"cost": cost, "scores": {"sigma 2": {"auc": auc, **said}}},
    }
    of_truth = {"true map": {"auc": 0.99, **said}}
    return {"set": name, "label": name, "seed": seed, "baselines": {**baselines, **of_truth}, "methods": methods}


def test_losses_are_told_where_they_are_beyond_chance() -> None:
    methods = {found.name: found for found in read_methods()}

    def told(areas: list[float]) -> str:
        rows = [r for seed, area in enumerate(areas) for r in rows_of(result("a", seed, 0.8, area, 0.52))]
        return "\n".join(losses(rows, {"a": "a set"}, methods)[1:3])

    assert "JANAS 2.2.3: sigma 2, by 10.0 ± 0.0" in told([0.53, 0.53, 0.53])
    assert "JANAS" not in told([0.53, 0.40, 0.60])
    assert "JANAS" not in told([0.51, 0.51, 0.51])


def test_the_order_of_simulated_and_half_real_sets() -> None:
    methods = {found.name: found for found in read_methods()}
    made = [result("a-plain", 0, 0.95, 0.5, 0.5), result("a-real", 0, 0.8, 0.5, 0.5)]
    rows = [row for values in made for row in rows_of(values)]
    text = "\n".join(order(rows, {"a-plain": "a, plain", "a-real": "a, real"}, methods))
    assert "| JANAS 2.2.3: sigma 2 | 0.950 (1) | 0.800 (2) |" in text
    assert "true map" not in text
    assert "+20.0" not in "\n".join(section("a-real", "a", rows, methods))
