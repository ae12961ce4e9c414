"""What the documentation shows of the demo, beside what the commands print: ``python docs/transcripts.py [--write]``.

A block that begins with ``$ cryocore`` and names ``results/demo`` is run. Words have to be the same; numbers may differ
as rounding on another processor lets them. One line of dots may stand for any lines. ``--write`` puts what is printed
into the pages.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEMO = "results/demo"
BLOCK = re.compile(r"^```\n\$ (cryocore [^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
DOTS = "..."
UNITS, SHARE = 2, 0.01
"""By how many units of its last digit, or by which share, a number may differ."""
SMALL = 10
"""Whole numbers below it, such as those of rounds, have to be the same."""


@dataclass(frozen=True)
class Transcript:
    """A command, and the lines that a page shows of what it prints."""

    page: Path
    command: str
    shown: tuple[str, ...]

    def printed(self) -> list[str]:
        """What it prints now."""
        with tempfile.TemporaryDirectory(prefix="cryocore-transcript-") as folder:
            (Path(folder) / "results").symlink_to(ROOT / "results")
            command = [sys.executable, "-m", *shlex.split(self.command)]
            done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
        return [line.rstrip() for line in done.stdout.splitlines()]

    def with_dots(self, printed: Sequence[str]) -> list[str]:
        """What is printed, with a line of dots where the page has one."""
        if not any(line.strip() == DOTS for line in self.shown):
            return list(printed)
        at = next(i for i, line in enumerate(self.shown) if line.strip() == DOTS)
        after = len(self.shown) - at - 1
        return [*printed[:at], self.shown[at], *(printed[-after:] if after else [])]


def transcripts(page: Path) -> Iterator[Transcript]:
    """Those of a page that ask the demo."""
    for command, text in BLOCK.findall(page.read_text()):
        if DEMO in command:
            yield Transcript(page, command, tuple(text.splitlines()))


def alike(shown: str, printed: str) -> bool:
    """Whether two lines have the same words, and numbers that are close.

    >>> alike("5.90 Å of 4,000", "5.91 Å  of 4,001"), alike("5.90 Å", "6.20 Å"), alike("round 3", "round 4")
    (True, False, False)
    """
    words = (" ".join(NUMBER.sub("#", line).split()) for line in (shown, printed))
    if len(set(words)) > 1:
        return False
    return all(_close(a, b) for a, b in zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True))


def _close(a: str, b: str) -> bool:
    x, y = (float(text.replace(",", "")) for text in (a, b))
    whole = "." not in a
    units = 0.0 if whole and abs(x) < SMALL else UNITS * 10.0 ** -len(a.partition(".")[2])
    return abs(x - y) <= max(units, SHARE * abs(x)) + 1e-9


def differences(transcript: Transcript, printed: Sequence[str]) -> list[str]:
    """Lines that are not alike, or only on one side."""
    expected = transcript.with_dots(printed)
    if len(expected) != len(transcript.shown):
        return [f"{len(transcript.shown)} lines are shown, {len(expected)} printed", *printed]
    pairs = zip(transcript.shown, expected, strict=True)
    return [f"  shown    {a}\n  printed  {b}" for a, b in pairs if not alike(a, b)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare all pages; the exit status is 1 where one shows something else."""
    write = "--write" in (sys.argv[1:] if arguments is None else arguments)
    wrong = 0
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for transcript in transcripts(page):
            printed = transcript.printed()
            said = differences(transcript, printed)
            if not said:
                continue
            wrong += 1
            print(f"{page.relative_to(ROOT)}: {transcript.command}", *said, sep="\n")
            if write:
                begins = f"```\n$ {transcript.command}\n"
                lines = transcript.shown, transcript.with_dots(printed)
                before, after = ("".join(f"{line}\n" for line in found) for found in lines)
                page.write_text(page.read_text().replace(begins + before, begins + after))
    sys.exit(wrong > 0 and not write)


if __name__ == "__main__":
    main()
