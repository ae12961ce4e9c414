"""The slider over selections: in a headless Chromium it tells what replays tell; what it stores is bounded."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from cryocore.config.select import Select
from cryocore.explore.replay import Request, replay
from cryocore.report.cuts import cuts_section
from cryocore.report.page import environment
from cryocore.report.slider import NUMBERS
from cryocore.tables.io import write_table
from tests.report.browser import CHROMIUM, Browser

in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

PAGE = """{% from "parts.html.j2" import asked with context %}<!doctype html><title>one section</title>
<style>{% include "page.css" %}</style><main>{{ asked(section) }}</main><script>{% include "slider.js" %}</script>"""
RANGE = "document.querySelector('.slider input[type=range]')"
PLACE = f"Number({RANGE}.value)"
TOLD = """Object.fromEntries([...document.querySelectorAll('.slider [data-row]')].map(
  row => [row.dataset.row, [...row.children].slice(1).map(cell => Number(cell.dataset.value))]))"""
COMMAND = "document.querySelector('[data-line=command]').textContent"
CONFIGURATION = "document.querySelector('[data-line=configuration]').textContent"
DATA = "JSON.parse(document.querySelector('.slider script').textContent)"
SHOWN = "[...document.querySelectorAll('%s')].filter(element => element.getClientRects().length).length"
WATCH = """window.changed = 0;
  new MutationObserver(records => { window.changed += records.length; })
    .observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true})"""
STATE = "document.querySelector('.slider .state').textContent"


def written(section, path):
    path.write_text(environment().from_string(PAGE).render(section=section, figures={}, folder=""))
    return path


@pytest.fixture(scope="module")
def section(finished_run):
    return cuts_section(finished_run.folder, 2)


@pytest.fixture(scope="module")
def browser(section, tmp_path_factory):
    folder = tmp_path_factory.mktemp("slider")
    found = Browser(folder / "profile", 1280)
    found.open(written(section, folder / "page.html"))
    yield found
    found.close()
    assert found.console == [], "messages in the console"


def choose(browser, rule, score, place):
    for name, value in (("rule", rule), ("score", score)):
        select = f"document.querySelector('[data-choice={name}]')"
        browser.ask(f"{select}.value = '{value}'; {select}.dispatchEvent(new Event('change'))")
    browser.ask(f"{RANGE}.value = {place}; {RANGE}.dispatchEvent(new Event('input'))")


def replayed(line):
    """The answer of the command that the page shows, but for the file that it writes."""
    words = shlex.split(line)
    assert words[:2] == ["cryocore", "replay"] and words[-2] == "--out"
    done = subprocess.run([sys.executable, "-m", *words[:-2], "--json"], capture_output=True, text=True, check=True)
    (answer,) = json.loads(done.stdout)
    return answer


@in_browser
@pytest.mark.slow
@pytest.mark.parametrize(
    "rule, score, place",
    [
        ("fraction", "dual", 69),
        ("threshold", "dual", 40),
        ("threshold", "dual", 95),
        ("threshold", "l2_loss", 80),
        ("fraction", "z", 9),
    ],
)
def test_the_page_tells_what_its_command_tells(browser, finished_run, rule, score, place):
    choose(browser, rule, score, place)
    assert browser.ask(PLACE) == place
    told = {name: values[0] for name, values in browser.ask(TOLD).items()}
    said = replayed(browser.ask(COMMAND))
    assert (said["selection"]["value"] < 0) == (place == 95), "one of the values is negative"
    assert said["selection"]["rule"] == rule and said["selection"]["score"] == score
    assert told["kept"] == said["n_kept"] and told["halves"] == said["n_kept_half1"]
    expected = {
        "worst": said["worst_kept"]["half1"],
        "correct_rate": said["rates"]["correct_rate"],
        "recall": said["rates"]["recall"],
        "effective_correct": said["prediction"]["effective_correct"],
        "resolution": said["prediction"]["resolution_angstrom"],
        "fsc_area": said["prediction"]["fsc_area_change"],
        "views_moved": said["views"]["total_variation"],
        "least_kept": said["views"]["least_kept"],
    }
    known = {name: value for name, value in expected.items() if value is not None}
    assert {name: told[name] for name in known} == pytest.approx(known, rel=1e-6, abs=1e-6)
    assert {"worst", "correct_rate", "effective_correct", "resolution", "fsc_area"} <= set(known)
    settings = Select.model_validate(yaml.safe_load(browser.ask(CONFIGURATION))["select"])
    assert (settings.rule, settings.value, settings.score) == (rule, [said["selection"]["value"]], score)


@in_browser
def test_the_runs_own_selection_stands_beside_it(browser, section):
    own = section.slider.data["own"]
    told = {name: values[1] for name, values in browser.ask(TOLD).items()}
    assert told["kept"] == own["kept1"] + own["kept2"]
    assert told["resolution"] == own["resolution"] and told["correct_rate"] == own["correct_rate"]
    choose(browser, "fraction", "dual", 0)
    tick = browser.ask("Number(document.querySelector('#slider-own option').value)")
    kept = []
    for place in (tick - 1, tick, tick + 1):
        choose(browser, "fraction", "dual", place)
        kept.append(browser.ask(TOLD)["kept"][0])
    assert np.argmin(np.abs(np.array(kept) - told["kept"])) == 1


@in_browser
def test_keys_move_by_one_step_and_by_ten(browser):
    choose(browser, "fraction", "dual", 50)
    browser.ask(f"{RANGE}.focus()")
    for key, expected in (("ArrowRight", 51), ("ArrowUp", 52), ("PageDown", 42), ("ArrowLeft", 41), ("PageUp", 51)):
        before = browser.ask(STATE)
        browser.press(key)
        assert browser.ask(PLACE) == expected
        assert browser.ask(STATE) != before, "the rest follows"
    assert browser.ask(f"{RANGE}.labels[0].textContent").startswith("Value")
    assert browser.ask(f"{RANGE}.getAttribute('aria-valuetext')").startswith("0.52: 312 particles")
    for _ in range(2):
        browser.press("Tab")
    assert browser.ask("document.activeElement.dataset.line || document.activeElement.dataset.copy")


@in_browser
def test_another_score_goes_on_at_as_many_particles(browser):
    choose(browser, "fraction", "dual", 59)
    kept = browser.ask(TOLD)["kept"][0]
    select = "document.querySelector('[data-choice=score]')"
    browser.ask(f"{select}.value = 'z'; {select}.dispatchEvent(new Event('change'))")
    assert browser.ask(TOLD)["kept"][0] == kept == 360
    assert "--score z " in browser.ask(COMMAND)


@in_browser
def test_drawings_follow(browser, section):
    """The clipped part of the histogram ends at the cut, the curve is that of the FSC, cells have the kept share."""
    choose(browser, "threshold", "dual", 30)
    worst = browser.ask(TOLD)["worst"][0]
    data = browser.ask(DATA)
    heaps, frame = data["scores"]["dual"], data["frame"]
    at = frame["left"] + (frame["right"] - frame["left"]) * (worst - heaps["low"]) / (heaps["high"] - heaps["low"])
    starts = [
        float(browser.ask(f"document.querySelector('#slider-{c} rect').getAttribute('x')")) for c in ("one", "both")
    ]
    assert starts[0] <= starts[1] and min(abs(x - at) for x in starts) < 0.01
    drawn = "document.querySelector('.predicted').getAttribute('points')"
    strict = browser.ask(drawn)
    choose(browser, "threshold", "dual", 95)
    assert browser.ask(drawn) != strict
    cells = browser.ask("[...document.querySelectorAll('.cell')].map(c => c.getAttribute('class'))")
    assert len(cells) == len(section.slider.cells) and {"cell correct", "cell incorrect"} <= set(cells)
    total = sum(sum(heap) for heap in heaps["heaps"].values())
    assert total == 600 and browser.ask("document.querySelectorAll('#slider-heaps path').length") == 2


@in_browser
def test_lines_are_copied_and_printed_without_controls(browser):
    browser.ask("document.querySelector('[data-copy=command]').click()")
    browser.ask("new Promise(done => setTimeout(done, 100))")
    assert browser.ask("document.querySelector('[data-copy=command]').textContent") == "Copied"
    browser("Emulation.setEmulatedMedia", media="print")
    shown = SHOWN % ".slider select, .slider input, .slider button"
    seen = SHOWN % ".slider .state, .slider pre, .slider td"
    assert browser.ask(shown) == 0 and browser.ask(seen) == 3 + 2 * len(browser.ask(TOLD))
    browser("Emulation.setEmulatedMedia", media="")
    assert browser.ask(shown) == 5


@pytest.mark.slow
def test_a_million_particles_store_no_more_and_move_as_little(finished_run, tmp_path):
    """Sizes of the text, and nodes that a step of the slider changes, are bounded whatever the number of particles."""
    sizes = {}
    for n in (6_000, 1_000_000):
        folder = tiled(finished_run, tmp_path / str(n), n)
        section = cuts_section(folder, 2)
        sizes[n] = len(json.dumps(section.slider.data))
    assert sizes[1_000_000] < 1.1 * sizes[6_000] < 1.1 * 30_000 * len(section.slider.data["cuts"])
    if CHROMIUM is None:
        return
    browser = Browser(tmp_path / "profile", 1280)
    browser.open(written(section, tmp_path / "page.html"))
    browser.ask(WATCH)
    for place in (20, 21):
        choose(browser, "fraction", "dual", 60)
        browser.ask("new Promise(done => setTimeout(done, 0)).then(() => { window.changed = 0; })")
        browser.ask(f"{RANGE}.value = {place}; {RANGE}.dispatchEvent(new Event('input'))")
        assert 0 < browser.ask("new Promise(done => setTimeout(done, 0)).then(() => window.changed)") <= 200
    assert browser.ask("document.querySelectorAll('.slider *').length") < 400
    assert browser.ask(TOLD)["kept"][0] == pytest.approx(220_000)
    browser.close()


def tiled(run, folder, n):
    """The run's last round with its rows repeated, scores a little different, until there are n."""
    (folder / "log" / "round=2").mkdir(parents=True)
    (folder / "round_2").mkdir()
    (folder / "round_2" / "fsc.parquet").write_bytes((run.folder / "round_2" / "fsc.parquet").read_bytes())
    table = pq.read_table(run.log(2)).drop_columns(["image_power"])
    repeated = pa.concat_tables([table] * (n // len(table) + 1)).slice(0, n).combine_chunks()
    rng = np.random.default_rng(0)
    for name in ("particle_id", "dual", "z"):
        values = np.arange(n, dtype=np.uint64) if name == "particle_id" else repeated[name].to_numpy()
        if name != "particle_id":
            values = (values + 0.01 * rng.normal(size=n)).astype(np.float32)
        repeated = repeated.set_column(repeated.column_names.index(name), name, pa.array(values))
    pq.write_table(repeated, folder / "log" / "round=2" / "log.parquet")
    return folder


def test_what_the_log_does_not_tell_is_left_out(finished_run, tmp_path):
    """Without curves, views and truth there is still what is kept."""
    table = pq.read_table(finished_run.log(2))
    path = tmp_path / "log" / "round=2" / "log.parquet"
    path.parent.mkdir(parents=True)
    gone = [n for n in table.column_names if n.startswith("view_") or n in ("mixture", "micrograph")]
    pq.write_table(table.drop_columns(gone), path)
    section = cuts_section(tmp_path, 2)
    assert section.answer.startswith("Nothing is known of which particles are correct")
    slider = section.slider
    assert slider.fsc is None and slider.cells == () and slider.micrographs is None
    assert [name for name, _ in slider.rows] == ["kept", "halves", "worst", "effective_correct"]
    cuts = slider.data["cuts"][0]
    assert {"views", "fsc", "micrographs"}.isdisjoint(cuts) and len(slider.data["numbers"]) == len(NUMBERS)
    pq.write_table(table.drop_columns([*gone, "l2_loss", "z", "dual"]), path)
    assert cuts_section(tmp_path, 2).answer == "The log of round 2 has no score to cut."


def test_the_answer_names_the_best_cut(finished_run, section, tmp_path):
    """Scores that know the truth beat a selection that keeps all; where the run's own knows it, nothing beats it."""
    slider = section.slider
    assert (slider.round, slider.whose) == (2, "The default")
    assert slider.data["command"] == f"cryocore replay {finished_run.folder} --round 2"
    best = re.fullmatch(
        r"(\w+) (\S+) of (\w+) is predicted to make a better map than the default selection, soft 0.05 of mixture: "
        r"its FSC area is larger by ([\d.]+) \(round 2, by the truth\)\.",
        section.answer,
    )
    assert best is not None, section.answer
    asked = Request(rule=best[1].lower(), values=(float(best[2]),), score=best[3])
    own, other = replay(finished_run.folder, [Request(), asked], rounds="last")
    gain = other.prediction.fsc_area_change - own.prediction.fsc_area_change
    assert gain == pytest.approx(float(best[4]), abs=6e-5) and gain > 0


def test_a_run_that_normalises_scores_is_replayed_without(finished_run, tmp_path):
    """The page cuts scores as they stand in the log."""
    settings = Select(rule="fraction", value=[0.7], score="dual", normalise="micrograph")
    for name in ("log/round=2", "round_2"):
        shutil.copytree(finished_run.folder / name, tmp_path / name)
    table = pa.table({"particle_id": pa.array([1], pa.uint64())})
    write_table(tmp_path / "round_2" / "subset.parquet", table, settings=settings.model_dump(mode="json"), seed=3)
    slider = cuts_section(tmp_path, 2).slider
    assert slider.whose == "The run's own" and slider.own == "fraction 0.7 of dual within micrograph"
    assert slider.data["command"].endswith(" --round 2 --normalise none")
