"""Tables that results give, within pages whose words are written by hand.

    python -m benchmarks.blocks

A block stands between ``<!-- results: NAME -->`` and ``<!-- end -->``. The command writes all blocks of all pages
again; ``make claims`` and a test tell a page whose blocks are not what the results give.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.validation.common import ROOT

RESULTS = ROOT / "benchmarks" / "results"
PAGES = ROOT / "docs" / "measurements"
BLOCK = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end -->\n)", re.DOTALL)

NOT_MEASURED = "*Not measured yet.*\n"


@dataclass(frozen=True)
class Block:
    """What a block is made from, and by what.

    ``results`` : a file below ``benchmarks/results``; of a pattern the newest, or all where ``many``
    ``function`` : of :mod:`benchmarks.tables`; takes what is in the file, or a list of it, and gives whole lines
    ``part`` : of the file, without which nothing has been measured
    """

    results: str
    function: str
    part: str = ""
    many: bool = False

    def text(self) -> str:
        """The block's lines; one that says so where nothing, or not this part, has been measured."""
        from benchmarks import tables  # imports all that measures

        found = [json.loads(file.read_text()) for file in sorted(RESULTS.glob(self.results))]
        if not found:
            return NOT_MEASURED
        given = found if self.many else max(found, key=newest)
        if self.part and self.part not in given:
            return NOT_MEASURED
        text: str = getattr(tables, self.function)(given)
        return text


def newest(values: Any) -> str:
    """The latest day on which a part of a result was made."""
    parts = values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
    days = [newest(part) for part in parts]
    return max([*days, values["date"] if isinstance(values, dict) and {"date", "commit"} <= values.keys() else ""])


BLOCKS = {
    "alternatives": Block("alternatives.json", "alternatives_table"),
    "cache": Block("cost.json", "cache_table", "cache"),
    "configurations": Block("configurations/*.json", "configurations_table"),
    "conversions": Block("cost.json", "conversions_table", "conversions"),
    "cryosieve": Block("cryosieve.json", "cryosieve_table"),
    "damping": Block("methods.json", "damping_table", "damping"),
    "direction": Block("analysis/direction.json", "direction_table"),
    "error-rate": Block("experiments/*", "error_rate_table", many=True),
    "faults": Block("faults.json", "faults_table"),
    "fuzz": Block("fuzz.json", "fuzz_table"),
    "noise": Block("methods.json", "noise_table", "noise"),
    "refinement": Block("methods.json", "refinement_table", "refinement"),
    "replay": Block("replay/*.json", "replay_table"),
    "requests": Block("cost.json", "requests_table", "requests"),
    "reslog": Block("methods.json", "reslog_table", "reslog"),
    "scaling": Block("scaling.json", "shards_table"),
    "sharpening": Block("methods.json", "sharpening_table", "sharpening"),
    "sites": Block("sites.json", "sites_table"),
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


def write() -> None:
    """Write all blocks of all pages."""
    for page in with_blocks():
        page.write_text(filled(page.read_text()))
        print(f"{page.relative_to(ROOT)} written")


if __name__ == "__main__":
    write()
