"""A referee's questions: answers where the truth is known, and methods that cheat."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cryocore.commands.app import app
from cryocore.config.plant import PlantedErrors
from cryocore.config.score import Score
from cryocore.config.select import Select
from cryocore.errors import InputError
from cryocore.explore.audit import Audit, Plan, audit
from cryocore.explore.audit.answers import Beside, noise_answer, not_answered, stability_answer
from cryocore.explore.audit.history import Choice, choices_up_to
from cryocore.explore.audit.lists import dealt, groups_within
from cryocore.explore.audit.noise import selected_from_noise, without_phases, write_substituted
from cryocore.explore.audit.parts import Parts
from cryocore.explore.audit.ruler import Lists, Measured, Ruler
from cryocore.explore.audit.stability import expected_jaccard, jaccard
from cryocore.explore.open_maps import open_maps
from cryocore.imaging.accumulate import accumulate
from cryocore.imaging.cache import image_source
from cryocore.imaging.image_geometry import used_shells
from cryocore.imaging.packed import pack_transforms, record_type, row_ends
from cryocore.log.rounds import find_rounds
from cryocore.maps.curves import FscCurves
from cryocore.maps.mrc import read_map, write_map
from cryocore.report.audit import write_audit
from cryocore.score import score
from tests.explore.conftest import BY_SCORE
from tests.explore.runs import ALONE, CPU, run_of

pytestmark = pytest.mark.usefixtures("few_fits")

FEW = Plan(n_random=3, n_dealt=3, n_noise=1, splits=1)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images at an SNR of 0.03, which nothing is selected from."""
    return run_of(tmp_path_factory.mktemp("noisy"), PlantedErrors(), None, snr=0.03, n_particles=1000)


@pytest.fixture(scope="module")
def asked(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, Path]:
    """An audit of the run, and the folder of its parts."""
    parts = tmp_path_factory.mktemp("parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cryocore.log.error_rate.BOOTSTRAP", 2)
        return audit(run, CPU, plan=FEW, work=parts), parts


def ruler_of(run: Path, number: str = "1", **given: Any) -> tuple[Ruler, Any]:
    opened = open_maps(run, number)
    curves = FscCurves.read(run / "round_0" / "fsc.parquet")
    return Ruler.of(opened, curves, **{"cut_angstrom": None, "seed": 0, **given}), opened


def test_a_good_list_is_told_from_random_ones(asked: tuple[Audit, Path]) -> None:
    found, _ = asked
    assert found.number == 1 and found.n_selected == 420
    assert {a.name: a.verdict for a in found.answers} == dict.fromkeys(
        ("size", "local", "noise", "views", "stability", "held_out"), "passed"
    )
    assert found.verdict == "6 of 6 questions are answered in favour of the list."
    assert found.ruler.digest in found.text and json.loads(json.dumps(found.as_dict()))["round"] == 1
    size = found.of("size").values
    assert size["list"]["n_particles"] == {o["n_particles"] for o in size["others"]}.pop() == 420
    assert size["area"] > size["high"] + 0.02


def test_what_was_done_is_not_done_again(
    run: Path, asked: tuple[Audit, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an audit that lacks one of its parts only this is made; what was needed meanwhile is gone."""
    first, parts = asked
    assert not [path.name for path in parts.iterdir() if path.is_dir()]
    shutil.copytree(parts, tmp_path, dirs_exist_ok=True)
    (tmp_path / "random_1.json").unlink()
    read = []
    monkeypatch.setattr(
        "cryocore.explore.audit.ruler.accumulate", lambda *given: read.append(given[-1]) or accumulate(*given)
    )
    assert audit(run, CPU, plan=FEW, work=tmp_path).as_dict() == first.as_dict()
    assert read == ["all particles", "random 1"]


def test_a_random_list_is_told_to_be_one(run: Path, tmp_path: Path) -> None:
    """A draw as any other."""
    ruler, opened = ruler_of(run)
    lists = Lists(opened.data, ruler.grid, CPU, opened.source)
    half, flags = opened.data.column("half") - 1, np.arange(len(opened.data)) % 10 < 7
    areas = []
    for repeat in range(6):
        members = dealt(flags, half, opened.data.images, seed=1, kind=0, repeat=repeat)
        areas.append(ruler.measure(ruler.halves(lists.sums(members, "list")), int(members.sum())))
    found = Beside.of(areas[0], areas[1:])
    assert abs(found.deviations) < 3.0 and found.verdict == "undecided"


def by_both_halves(particles: Path, folder: Path, subset: Path | None, **given: Any) -> None:
    """A method that leaks: every particle is judged by the map of both half sets, with its own share in it."""
    (one, pixel), (two, _) = (read_map(folder / f"half{h}.mrc") for h in (1, 2))
    for h in (1, 2):
        write_map(folder / f"half{h}.mrc", 0.5 * (one + two), pixel)
    score(particles, folder, subset, **given)


def by_the_other_half(particles: Path, folder: Path, subset: Path | None, **given: Any) -> None:
    """Another: every particle is judged by the map of the other half set."""
    halves = [read_map(folder / f"half{h}.mrc") for h in (1, 2)]
    for h in (1, 2):
        write_map(folder / f"half{h}.mrc", *halves[2 - h])
    score(particles, folder, subset, **given)


@pytest.mark.parametrize("leak", [by_both_halves, by_the_other_half])
def test_a_method_that_leaks_is_caught(noisy: Path, tmp_path: Path, leak: Any) -> None:
    """The best 30 % by a score that reads all resolutions; without the leak nothing is found."""
    ruler, opened = ruler_of(noisy, "0", cut_angstrom=40.0)
    choice = Choice(Score(**ALONE), Select(rule="fraction", value=[0.3], score="ncc"), seed=0)
    curves = FscCurves.read(noisy / "round_0" / "fsc.parquet")
    verdicts = []
    for name, scoring in (("honest", score), ("leaking", leak)):
        (tmp_path / name).mkdir()
        given = noisy / "particles.parquet", [choice], [curves], ruler, opened.source, CPU, tmp_path / name
        found = selected_from_noise(*given, symmetry="C1", n_lists=2, scoring=scoring)
        assert all(abs(r["correlation"]) < 3.5 * r["sd"] for r in found["random"])
        verdicts.append(noise_answer(found, ruler.cut_angstrom))
    assert [v.verdict for v in verdicts] == ["passed", "failed"]
    assert verdicts[1].sentence.startswith("Yes: beyond")


def test_phases_beyond_the_cut_are_random_and_all_else_stays() -> None:
    rng, box, cut = np.random.default_rng(0), 32, 6.5
    images = rng.normal(size=(200, box, box)).astype(np.float32)
    limit, ids = 15, np.arange(200, dtype=np.uint64)
    records = pack_transforms(images, limit, CPU)
    turned = without_phases(records, limit, cut, ids, seed=3)
    before, after = (r.view(record_type(limit)).reshape(-1) for r in (records, turned))
    np.testing.assert_array_equal(before["factor"], after["factor"])
    a, b = (v["transform"].astype(np.float64)[..., 0] + 1j * v["transform"][..., 1] for v in (before, after))
    ends = row_ends(limit)
    ky, kx = np.repeat(np.arange(-limit, limit + 1), ends + 1), np.concatenate([np.arange(e + 1) for e in ends])
    low = kx**2 + ky**2 <= cut**2
    np.testing.assert_array_equal(a[:, low], b[:, low])
    np.testing.assert_allclose(np.abs(a), np.abs(b), rtol=2e-3, atol=0.5)
    correlation = np.abs(np.mean(a[:, ~low] * b[:, ~low].conj())) / np.mean(np.abs(a[:, ~low]) ** 2)
    assert correlation < 4.0 / np.sqrt(200 * np.count_nonzero(~low))
    for y in (7, 12):  # of a real image
        np.testing.assert_allclose(b[:, (kx == 0) & (ky == y)], b[:, (kx == 0) & (ky == -y)].conj(), atol=1.0)
    some = without_phases(records[50:60], limit, cut, ids[50:60], seed=3)
    np.testing.assert_array_equal(some, turned[50:60])


def test_the_standard_error_of_noise_is_that_of_noise(noisy: Path, tmp_path: Path) -> None:
    """Beyond the cut half maps of images without phases, drawn anew twelve times, correlate by 0 ± their error."""
    deviations = []
    for seed in range(12):
        ruler, opened = ruler_of(noisy, "0", cut_angstrom=40.0, seed=seed)
        data = opened.data.take(np.arange(0, 1000, 4))
        write_substituted(tmp_path / f"{seed}.npz", data, ruler, opened.source, CPU)
        source = image_source(tmp_path / f"{seed}.npz", data, used_shells(data.optics, ruler.grid))
        sums = accumulate(data, np.ones(len(data), dtype=np.float32), ruler.grid, CPU, None, source)
        value, sd = ruler.noise_correlation(ruler.noise_fsc(ruler.halves(sums)))
        deviations.append(value / sd)
    assert abs(np.mean(deviations)) < 3.3 / np.sqrt(12)
    assert 0.45 < np.sqrt(np.mean(np.square(deviations))) < 1.6  # of 12, beyond either in 1 of 500


def test_lists_have_as_many_of_each_stratum_in_any_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    ids, strata = rng.permutation(3000).astype(np.uint64), rng.integers(0, 20, 3000)
    selected = rng.random(3000) < strata / 20
    found = [dealt(selected, strata, ids, seed=4, kind=1, repeat=repeat) for repeat in range(3)]
    for members in found:
        np.testing.assert_array_equal(np.bincount(strata[members]), np.bincount(strata[selected]))
    assert jaccard(found[0], found[1]) < 0.6
    order = rng.permutation(3000)
    again = dealt(selected[order], strata[order], ids[order], seed=4, kind=1, repeat=0)
    np.testing.assert_array_equal(again, found[0][order])


def test_sums_of_a_long_list_are_those_of_all_less_the_rest(run: Path) -> None:
    ruler, opened = ruler_of(run)
    members = np.arange(len(opened.data)) % 4 > 0
    lists = Lists(opened.data, ruler.grid, CPU, opened.source)
    found = lists.sums(members, "list")
    direct = accumulate(opened.data, members.astype(np.float32), ruler.grid, CPU, None, opened.source)
    np.testing.assert_allclose(found.denominator, direct.denominator, atol=1e-4 * direct.denominator.max())
    one, other = (ruler.measure(ruler.halves(sums), 1) for sums in (found, direct))
    np.testing.assert_allclose(one.fsc, other.fsc, atol=1e-3)
    assert Measured.of(json.loads(json.dumps(one.as_dict()))).area == pytest.approx(one.area, abs=1e-6)


def test_the_ruler_is_another_where_anything_of_it_is(run: Path) -> None:
    ruler, _ = ruler_of(run)
    digests = {ruler_of(run, **given)[0].digest for given in ({}, {"seed": 1}, {"cut_angstrom": 20.0})}
    assert len(digests) == 3 and ruler_of(run)[0].digest == ruler.digest
    assert ruler.beyond[0] == ruler.cut + 3 and ruler.beyond[-1] == ruler.grid.last_shell


def test_signal_before_the_cut_does_not_reach_beyond_it(run: Path) -> None:
    """Half maps of equal signal before the cut and independent noise beyond it, under a mask."""
    ruler, _ = ruler_of(run)
    n, rng = len(ruler.mask), np.random.default_rng(2)
    radius = np.sqrt(sum(np.square(k) for k in np.meshgrid(*[np.fft.fftfreq(n, 1 / n)] * 3, indexing="ij")))
    signal = np.where(radius < ruler.cut, 100.0 * np.fft.fftn(rng.normal(size=(n, n, n))), 0.0)
    halves = [np.fft.ifftn(signal + np.fft.fftn(rng.normal(size=(n, n, n)))).real.astype(np.float32) for _ in range(2)]
    value, sd = ruler.noise_correlation(ruler.noise_fsc((halves[0], halves[1])))
    assert abs(value) < 4.0 * sd


def test_the_history_of_a_run(run: Path, tmp_path: Path) -> None:
    (choice,) = choices_up_to(run, find_rounds(run), 1)
    assert choice.select == BY_SCORE and choice.score == Score(**ALONE) and not choice.by_classifier
    with pytest.raises(InputError):
        choices_up_to(run, find_rounds(run), 3)
    nothing = audit(run, CPU, plan=FEW, number="0", work=tmp_path)
    assert {a.verdict for a in nothing.answers} == {"not answered"}
    assert "no particle is left out" in nothing.text


def test_words_of_answers() -> None:
    none = np.zeros(0)
    measured = [Measured(10, np.zeros(3), area, 5.0, none, none) for area in (0.5, 0.40, 0.41, 0.42)]
    assert Beside.of(measured[0], measured[1:]).verdict == "passed"
    assert Beside.of(measured[1], [measured[0], *measured[2:]]).verdict == "undecided"
    assert Beside.of(Measured(10, np.zeros(3), 0.2, 5.0, none, none), measured[1:]).verdict == "failed"
    assert expected_jaccard(np.ones(4, dtype=bool), np.ones(4, dtype=bool)) == 1.0
    for value, verdict in ((0.05, "passed"), (0.07, "failed"), (-0.07, "failed")):
        selected = {"correlation": value, "sd": 0.02}
        assert noise_answer({"selected": selected, "random": [selected]}, 10.0).verdict == verdict
    for index, verdict in ((0.95, "passed"), (0.8, "undecided"), (0.5, "failed")):
        values = {"jaccard": [index, index], "by_chance": 0.4, "before": None}
        assert stability_answer(values).verdict == verdict


def test_parts_of_something_else_are_made_again(tmp_path: Path) -> None:
    made = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"a": 1}

    assert Parts(tmp_path, "key").get("part", make) == Parts(tmp_path, "key").get("part", make) == {"a": 1}
    assert len(made) == 1
    Parts(tmp_path, "other").get("part", make)
    (tmp_path / "part.json").write_text("{")
    Parts(tmp_path, "other").get("part", make)
    assert len(made) == 3
    work = Parts(tmp_path, "key").work("maps")
    (work / "kept").touch()
    assert (Parts(tmp_path, "key").work("maps") / "kept").exists()
    assert not (Parts(tmp_path, "other").work("maps") / "kept").exists()


def test_as_a_command(run: Path, asked: tuple[Audit, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With parts that are there."""
    first, parts = asked
    shutil.copytree(parts, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr("cryocore.workflow.provenance.code_version", lambda *_, **__: {})
    few = ["--random", "3", "--dealt", "3", "--noise-lists", "1", "--splits", "1", "--out", str(tmp_path)]
    called = CliRunner().invoke(app, ["audit", str(run), *few, "--json"])
    assert called.exit_code == 0, called.output
    values = json.loads(called.stdout)
    assert values["questions"] == first.as_dict()["questions"]
    page = (tmp_path / "audit.html").read_text()
    assert values["ruler"]["digest"] in page and page.count("<section") == 7 and "Look at this first" not in page
    assert json.loads((tmp_path / "audit.json").read_text())["verdict"] == values["verdict"]
    again = CliRunner().invoke(app, ["audit", str(run), *few])
    assert again.exit_code == 0 and first.text in again.stdout
    corner = np.zeros((len(first.ruler.mask),) * 3, dtype=np.float32)
    corner[:6, :6, :6] = 1.0
    write_map(tmp_path / "corner.mrc", corner, first.ruler.grid.pixel_size_angstrom)
    for wrong in (
        ["--region", str(tmp_path / "corner.mrc")],
        ["--within", "colour"],
        ["--round", "7"],
        ["--region", "none.mrc"],
    ):
        refused = CliRunner().invoke(app, ["audit", str(run), *few, *wrong])
        assert refused.exit_code != 0 and isinstance(refused.exception, InputError)


def test_lists_are_dealt_within_what_the_log_knows(run: Path) -> None:
    log = open_maps(run, "1").log
    half = log.read(["half"])["half"]
    views, both = (groups_within(log, half, kinds) for kinds in (["view"], ["view", "micrograph"]))
    assert np.array_equal(groups_within(log, half, []), half - 1)
    assert 10 <= len(np.unique(views)) < len(np.unique(both))
    for strata in (views, both):
        assert all(len(np.unique(half[strata == s])) == 1 for s in np.unique(strata))


def test_a_page_of_a_list_that_fails(asked: tuple[Audit, Path], tmp_path: Path) -> None:
    """And of one of which nothing is answered."""
    first, _ = asked
    wrong = {**first.of("noise").values, "selected": {**first.of("noise").values["selected"], "correlation": 0.5}}
    failed = [noise_answer(wrong, 10.0) if a.name == "noise" else a for a in first.answers]
    found = replace(first, answers=tuple(failed))
    assert found.verdict.endswith("against it: does the selection fit noise.")
    write_audit(found, tmp_path)
    assert "Look at this first" in (tmp_path / "audit.html").read_text()
    nothing = replace(first, answers=tuple(not_answered(a.name, "no", within="views") for a in first.answers))
    write_audit(nothing, tmp_path)
    assert "No question is answered." in (tmp_path / "audit.html").read_text()
