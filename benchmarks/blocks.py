"""Tables that results give, within pages whose words are written by hand.

    python -m benchmarks.blocks

A block stands between ``<!-- results: NAME -->`` and ``<!-- end -->``. The command writes all blocks of all pages
again; ``make claims`` and a test tell a page whose blocks are not what the results give.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from benchmarks.validation.common import ROOT

RESULTS = ROOT / "benchmarks" / "results"
PAGES = ROOT / "docs" / "measurements"
BLOCK = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end -->\n)", re.DOTALL)

NOT_MEASURED = "*Not measured yet.*\n"


@dataclass(frozen=True)
class Block:
    """What a block is made from, and by what.

    ``results`` : a file below ``benchmarks/results``; of a pattern the first, or all where ``many``
    ``module``, ``function`` : takes what is in the file, or a list of it, and gives the text, whole lines
    """

    results: str
    module: str
    function: str
    many: bool = False

    def text(self) -> str:
        """The block's lines; one that says so where nothing, or not this part, has been measured."""
        files = sorted(RESULTS.glob(self.results))
        given = [json.loads(file.read_text()) for file in (files if self.many else files[:1])]
        try:
            text: str = getattr(import_module(self.module), self.function)(given if self.many else given[0])
        except LookupError:
            return NOT_MEASURED
        return text


BLOCKS = {
    "alternatives": Block("alternatives.json", "benchmarks.alternatives", "as_table"),
    "cache": Block("cost.json", "benchmarks.cost", "cache_table"),
    "configurations": Block("configurations/*.json", "benchmarks.configurations", "as_table"),
    "conversions": Block("cost.json", "benchmarks.cost", "conversions_table"),
    "cryosieve": Block("cryosieve.json", "benchmarks.cryosieve", "as_table"),
    "direction": Block("analysis/direction.json", "benchmarks.analysis.__main__", "as_table"),
    "error-rate": Block("experiments/[!qt]*", "benchmarks.methods", "error_rate_table", many=True),
    "faults": Block("faults.json", "benchmarks.faults", "as_table"),
    "fuzz": Block("fuzz.json", "benchmarks.fuzz.__main__", "as_table"),
    "noise": Block("methods.json", "benchmarks.methods", "noise_table"),
    "replay": Block("replay/*.json", "benchmarks.cost", "replay_table"),
    "requests": Block("cost.json", "benchmarks.cost", "requests_table"),
    "reslog": Block("methods.json", "benchmarks.methods", "reslog_table"),
    "scaling": Block("scaling.json", "benchmarks.scaling", "as_table"),
    "sites": Block("sites.json", "benchmarks.sites", "as_table"),
    "sharpening": Block("methods.json", "benchmarks.methods", "sharpening_table"),
}


def filled(text: str) -> str:
    """A page's text with all its blocks as results give them.

    Raises
    ------
    KeyError  where it names a block that there is not.
    """

    def written(found: re.Match[str]) -> str:
        return f"{found[1]}{BLOCKS[found[2]].text()}{found[3]}"

    return BLOCK.sub(written, text)


def with_blocks(folder: Path = PAGES) -> list[Path]:
    """Pages that have blocks."""
    return [page for page in sorted(folder.glob("*.md")) if BLOCK.search(page.read_text())]


def write(*names: str) -> None:
    """Write all blocks of all pages, or those of the pages that have one of some names."""
    for page in with_blocks():
        text = page.read_text()
        if names and not {found[2] for found in BLOCK.finditer(text)} & set(names):
            continue
        page.write_text(filled(text))
        print(f"{page.relative_to(ROOT)} written")


if __name__ == "__main__":
    write()
