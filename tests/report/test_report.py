"""The table, the figures and the report of a run; the report also in a browser."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cryocore.errors import InputError
from cryocore.maps.mrc import read_map
from cryocore.report.page import PICTURES, figure_file
from cryocore.report.summary import summarise
from cryocore.validate.surfaces import surface_level
from tests.report.conftest import report
from tests.runs import ALL

pytestmark = pytest.mark.slow

FIGURES = (
    *("fsc", "groups", "loss", "loss_blind", "loss_direction", "orientation"),
    *("progress", "scores", "slices", "stopping", "surfaces"),
)


class Page(HTMLParser):
    """Text, addresses and open elements of a page."""

    def __init__(self, text):
        super().__init__()
        self.text, self.addresses, self.open, self.ids = [], [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.ids |= {value for name, value in attrs if name == "id"}
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_table(finished_run, finished_report):
    table = pq.read_table(finished_report / "rounds.parquet")
    assert table.column_names[:5] == ["round", "n_kept", "resolution_angstrom", "correct_rate", "auc"]
    assert table["round"].to_pylist() == [0, 1, 2]
    for r in range(3):
        found = json.loads((finished_run.folder / f"round_{r}" / "metrics.json").read_text())
        for name in ("n_kept", "resolution_angstrom", "correct_rate", "auc", "fsc_truth_area", "recall"):
            assert table[name][r].as_py() == found[name]
        assert table["auc_z"][r].as_py() == found["aucs"]["z"]
        assert table["kept_share_junk"][r].as_py() == found["error_kinds"]["junk"]["kept_share"]


def test_printed_table_and_same_bytes_every_time(finished_run, finished_report, tmp_path, capsys):
    again = report(finished_run, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["round", "n_kept", "resolution_angstrom", "correct_rate", "auc"]
    assert len(lines) == 6 and len({len(line) for line in lines[:4]}) == 1
    assert re.fullmatch(r"Recommended subset: round \d, [\d,]+ particles.*", lines[5])
    assert lines[1].split()[:2] == ["0", "600"]
    for path in sorted(p for p in finished_report.rglob("*") if p.is_file()):
        assert path.read_bytes() == (again / path.relative_to(finished_report)).read_bytes(), path.name


def test_the_recommended_subset_is_marked_and_copied(finished_report):
    table = pq.read_table(finished_report / "rounds.parquet")
    recommended = table["round"].to_numpy()[table["is_recommended"].to_numpy()]
    assert len(recommended) == 1
    text = ALL if recommended[0] == 0 else f"round {recommended[0]}\n"
    assert (finished_report / "recommended.star").read_text() == text
    best = np.argmax(table["fsc_area_difference"].to_numpy())
    assert table["fsc_area_difference_sd"][int(best)].as_py() == 0
    assert table["n_effective"].to_pylist() == table["n_kept"].to_pylist()


def test_script_for_chimerax(finished_run, finished_report):
    """First, recommended and last round at the level of the last one's surface."""
    lines = (finished_report / "maps.cxc").read_text().splitlines()
    rounds = [re.search(r"round_(\d)/map.mrc", line) for line in lines]
    recommended = pq.read_table(finished_report / "rounds.parquet")["is_recommended"].to_pylist().index(True)
    assert [int(found[1]) for found in rounds if found] == sorted({0, recommended, 2})
    folder = finished_run.folder / "round_2"
    level = surface_level(read_map(folder / "map.mrc")[0], read_map(folder / "mask.mrc")[0])
    assert any(line.endswith(f"level {level:.6g}") for line in lines)


def test_figures_are_drawn(finished_report):
    """Each once: pictures of maps as pixels, the others as paths."""
    files = {name: finished_report / "figures" / figure_file(name) for name in FIGURES}
    assert sorted((finished_report / "figures").iterdir()) == sorted(files.values())
    for name in [name for name in PICTURES if name in files]:
        with Image.open(files.pop(name)) as picture:
            pixels = np.asarray(picture.convert("L"))
        assert pixels.shape[1] >= 6.5 * 60 and 0.02 < np.mean(pixels < 250) < 0.95
    for path in files.values():
        text = path.read_text()
        assert text.count("<path ") >= 50 and "<dc:date>" not in text


def test_report_stands_alone(finished_report):
    path = finished_report / "report.html"
    page = Page(path.read_text())
    assert page.open == []
    embedded = [a for a in page.addresses if a.startswith("data:")]
    files = [a for a in page.addresses if a.startswith("figures/")]
    anchors = [a for a in page.addresses if a.startswith("#")]
    assert len(embedded) == len(FIGURES) and len(embedded + files + anchors) == len(page.addresses)
    assert sorted(files) == sorted(f"figures/{figure_file(name)}" for name in FIGURES)
    assert all((finished_report / name).is_file() for name in files)
    assert {a[1:] for a in anchors} <= page.ids
    assert path.stat().st_size < 5 * 2**20
    assert not re.search(r"https?://", re.sub(r'"data:[^"]*"', "", path.read_text()))


def test_report_says_what_happened(finished_run, finished_report):
    text = " ".join(" ".join(Page((finished_report / "report.html").read_text()).text).replace("\xa0", " ").split())
    first, last = (json.loads((finished_run.folder / f"round_{r}" / "metrics.json").read_text()) for r in (0, 2))
    assert f"Kept {last['n_kept']} of 600 particles" in text
    assert f"correct rate {100 * first['correct_rate']:.1f} → {100 * last['correct_rate']:.1f} %" in text
    assert "Recommended subset: round" in text
    assert text.index("Kept") < text.index("Round by round") < text.index("How this was made")
    assert "seed: 20240" in text, "the configuration"


def test_without_truth(make_run, tmp_path, capsys):
    run = make_run(tmp_path, n=200, n_rounds=1)
    for r in range(2):
        run.validate(r, truth=False, true_map=False)
    out = report(run, tmp_path, n_rounds=2)
    text = " ".join(Page((out / "report.html").read_text()).text)
    assert "Correct rate" not in text and "AUC" not in text
    table = pq.read_table(out / "rounds.parquet")
    assert table["correct_rate"].null_count == 2 and table["auc"].null_count == 2
    told = capsys.readouterr().out
    assert told.splitlines()[1].split()[-2:] == ["-", "-"]
    assert told.index("Look at this first: The run asks for 2 rounds") < told.index("Recommended subset: round")


def test_only_the_first_round(make_run, tmp_path):
    run = make_run(tmp_path, n=200, n_rounds=0)
    run.validate(0)
    out = report(run, tmp_path, n_rounds=4, config={"run": "<b>half</b> done"})
    text = (out / "report.html").read_text()
    assert pq.read_table(out / "rounds.parquet").num_rows == 1
    assert "asks for 4 rounds; this report ends at round 0" in text
    assert "&lt;b&gt;half&lt;/b&gt; done" in text and "<b>half" not in text


def test_nothing_to_report(tmp_path):
    with pytest.raises(InputError, match="no finished round"):
        summarise(
            tmp_path,
            n_rounds=2,
            config={},
            out_table=tmp_path / "t",
            out_report=tmp_path / "r",
            out_figures=tmp_path / "f",
            star=tmp_path / "s",
            out_star=tmp_path / "o",
            out_script=tmp_path / "c",
        )
    assert list(tmp_path.iterdir()) == []
