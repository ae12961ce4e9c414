"""Pages link to what is there, and name every score and column."""

from __future__ import annotations

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import yaml

from cryocore.config.run import parse_config
from cryocore.log.names import EXPECTED, MEAN_GAIN, SCORES, SUGGESTED_POSE
from cryocore.score.scores import BAND_COLUMNS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def pages_of_docs() -> list[str]:
    """Every page below docs/, as a link on docs/index.md names it."""
    return [path.relative_to(ROOT / "docs").as_posix() for path in PAGES[2:]]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert set(pages_of_docs()) - {"index.md"} <= set(re.findall(r"\]\(([\w/-]+\.md)\)", index))


def test_every_page_is_in_the_menus_of_the_site() -> None:
    menus = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    listed = [page for menu in menus for entries in menu.values() for entry in entries for page in entry.values()]
    assert sorted(listed) == sorted({*pages_of_docs(), "contents.md", "contributing.md", "changes.md"})


@pytest.mark.parametrize("page", PAGES[2:], ids=lambda p: p.name)
def test_a_page_says_first_for_whom_it_is(page: Path) -> None:
    title, empty, first = page.read_text().splitlines()[:3]
    assert title.startswith("# ") and not empty and re.match(r"\*For those who .*", first), first


def test_every_guarantee_is_held_by_tests_that_there_are() -> None:
    promises = re.findall(r"^\| \*\*.*$", (ROOT / "docs" / "guarantees.md").read_text(), re.MULTILINE)
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert len(promises) >= 15
    for promise in promises:
        named = set(re.findall(r"`(test_\w+)`", promise))
        assert named and named <= there, (promise, named - there)


@pytest.mark.parametrize("page", ["reference/scores.md", "reference/log.md"])
def test_scores_and_bands_are_explained(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert not [
        name
        for name in (
            *SCORES,
            *EXPECTED,
            *SUGGESTED_POSE,
            *MEAN_GAIN,
            "random_pose_z",
            "noise_factor",
            "noise_power",
            *BAND_COLUMNS,
        )
        if f"`{name}`" not in text
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_configurations_are_accepted(page: Path) -> None:
    """Whole configurations, not excerpts of one."""
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
        values = yaml.safe_load(block)
        if "run" in values:
            assert parse_config(values, file=page.name).run == values["run"]


@pytest.fixture(scope="module")
def transcripts() -> Any:
    """The module of docs/ that compares what pages show with what commands print."""
    spec = spec_from_file_location("transcripts", ROOT / "docs" / "transcripts.py")
    assert spec is not None and spec.loader is not None
    sys.modules["transcripts"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_transcripts_are_of_the_demo(transcripts: Any) -> None:
    found = [t for page in PAGES for t in transcripts.transcripts(page)]
    assert len(found) >= 4
    assert all(t.command.startswith("cryocore ") and "results/demo" in t.command for t in found)


def test_what_is_printed_is_compared_line_by_line(transcripts: Any) -> None:
    shown = ("kept 2,800", "...", "the end")
    found = transcripts.Transcript(Path("page.md"), "cryocore x results/demo", shown)
    assert transcripts.differences(found, ["kept  2,801", "more", "and more", "the end"]) == []
    assert len(transcripts.differences(found, ["kept 2,900", "more", "an end"])) == 2
    assert transcripts.differences(found, ["kept 2,800"])
    for one, other, same in (("5.90 Å", "5.91 Å", True), ("5.90 Å", "6.20 Å", False), ("round 3", "round 4", False)):
        assert transcripts.alike(one, other) is same
