"""Whether pages of measurements say what the stored results say, and whether the code has changed since.

    python -m benchmarks.claims [--pages]

A page that is written from results has to be what they give, word for word. A result counts as old where code that it
was made by, or that measures it (:mod:`benchmarks.watched`), means something else now than at the commit that it names
(``made``), or else at the one that last changed it: comments and documentation do not count
(:mod:`cryocore.workflow.meaning`). What was measured beside changes is as old as the commit below them. A page is as
old as the oldest of its results, or as the last commit at which a sample of them, measured again, gave the same numbers
(``python -m benchmarks.again``), if none of the others is older than the sample. ``--pages`` leaves the second question
out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import again, blocks, same
from benchmarks.blocks import PAGES, RESULTS
from benchmarks.validation.common import ROOT
from benchmarks.watched import checked_out, watched
from cryocore.markdown import table
from experiments.runs import SCRIPTS

NAMED = 3
"""Files of changed code that are named."""


@dataclass(frozen=True)
class Source:
    """Results that are measured by one command.

    ``pattern`` : of them, below ``benchmarks/results``; several with spaces between, those of others behind an
        exclamation mark
    ``code`` : files that they are made by, beside what these import
    """

    pattern: str
    command: str
    code: tuple[str, ...]


@dataclass(frozen=True)
class Claim:
    """A page of measurements; ``written`` gives the texts that it may have."""

    page: str
    sources: tuple[Source, ...]
    written: Callable[[], Iterator[str]]
    blocks: tuple[str, ...] = ()
    """Of a page that is written by hand: each has to stand in it once, and to have been measured."""


def by_module(name: str) -> Callable[[], Iterator[str]]:
    """What ``write_page`` of a module gives."""

    def texts() -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="cryocore-claims-") as folder:
            (Path(folder) / "images").mkdir()
            page = import_module(name).write_page(page=Path(folder) / "page.md")
            if page is not None:
                yield page.read_text()

    return texts


def by_record(name: str, folder: str) -> Callable[[], Iterator[str]]:
    """What ``page`` of a module gives for the results of each machine."""

    def texts() -> Iterator[str]:
        for file in sorted((RESULTS / folder).glob("*.json")):
            yield import_module(name).page(json.loads(file.read_text()))

    return texts


MEASURING = *SCRIPTS, "experiments/comparisons.py", "experiments/evaluate.py"
"""What cases are run and measured by."""


def experiments(page: str, pattern: str, part: str, module: str, *code: str) -> Claim:
    """A page of ``experiments``, and what measures it."""
    return Claim(page, (Source(pattern, f"python -m experiments {part}", code),), by_module(f"experiments.{module}"))


def by_make(page: str, target: str, module: str, folder: str) -> Claim:
    """A page with the results of one machine, which a target of the Makefile measures."""
    source = Source(f"{folder}/*", f"make {target}", (*SCRIPTS, f"benchmarks/{folder}/__main__.py"))
    return Claim(page, (source,), by_record(module, folder))


def by_hand(page: str, measured: dict[str, str], tables: str) -> Claim:
    """A page whose words are written by hand, with tables as results give them (:mod:`benchmarks.blocks`); each pattern
    of results is measured by a module of ``benchmarks``."""

    def texts() -> Iterator[str]:
        yield blocks.filled((PAGES / f"{page}.md").read_text())

    def source(pattern: str, module: str) -> Source:
        is_package = (ROOT / "benchmarks" / module).is_dir()
        code = f"benchmarks/{module}/__main__.py" if is_package else f"benchmarks/{module}.py"
        return Source(pattern, f"python -m benchmarks.{module}", (*SCRIPTS, code))

    return Claim(page, tuple(source(*item) for item in measured.items()), texts, tuple(tables.split()))


CLAIMS = (
    by_make("accuracy", "validation", "benchmarks.validation.page", "validation"),
    experiments(
        "experiments", "experiments/* !experiments/trouble-* !experiments/quality-*", "run table", "page", *MEASURING
    ),
    experiments(
        "trouble", "experiments/trouble-*", "run trouble", "trouble_page", *MEASURING, "experiments/trouble.py"
    ),
    experiments(
        "quality", "experiments/quality-*", "run quality", "quality_page", *MEASURING, "experiments/quality.py"
    ),
    experiments("states", "states/*", "states", "states_page", "experiments/states.py"),
    experiments("region", "region/*", "region", "region_page", *MEASURING, "experiments/region.py"),
    experiments(
        "selectors",
        "selectors/*",
        "selectors",
        "selectors.page",
        *MEASURING,
        "experiments/selectors/measure.py",
        "experiments/selectors/cistem.py",
        "experiments/selectors/cryosieve.py",
    ),
    experiments(
        "seeds", "seeds/*", "seeds", "seeds_page", *MEASURING, "experiments/seeds.py", "experiments/residual_arrays.py"
    ),
    experiments("weighting", "solvers/*", "solvers", "solvers_page", *MEASURING, "experiments/solvers.py"),
    experiments(
        "classifier-gain",
        "classifiers/*",
        "classifiers",
        "classifiers_page",
        *MEASURING,
        "experiments/classifiers.py",
    ),
    by_make("performance", "bench", "benchmarks.performance.page", "performance"),
    by_hand(
        "methods",
        {
            "alternatives.json": "alternatives",
            "cryosieve.json": "cryosieve",
            "methods.json": "methods",
            "analysis/*": "analysis",
        },
        "noise damping alternatives error-rate direction cryosieve sharpening reslog refinement",
    ),
    by_hand(
        "cost",
        {"scaling.json": "scaling", "cost.json": "cost", "replay/*": "replay"},
        "scaling requests cache replay conversions",
    ),
    by_hand("robustness", {"faults.json": "faults", "sites.json": "sites", "fuzz.json": "fuzz"}, "faults sites fuzz"),
    by_hand("reproducibility", {"configurations/*": "configurations"}, "configurations"),
)


def differs(claim: Claim) -> bool:
    """Whether a page is not what its results give."""
    page = PAGES / f"{claim.page}.md"
    if not page.exists():
        return True
    text = page.read_text()
    standing = Counter(found[2] for found in blocks.BLOCK.finditer(text))
    return standing != Counter(claim.blocks) or text not in set(claim.written())


def unmeasured(claim: Claim) -> list[str]:
    """Blocks of a page that nothing has been measured for."""
    return [name for name in claim.blocks if blocks.BLOCKS[name].text() == blocks.NOT_MEASURED]


def measured_at(page: str, source: Source) -> tuple[str, str] | None:
    """Commit and date of the last change of the oldest result of a source of a page, or later when a sample gave the
    same numbers again (:mod:`benchmarks.again`); None where none is committed."""
    patterns = [
        f":({'exclude,' * pattern.startswith('!')}glob)benchmarks/results/{pattern.removeprefix('!')}"
        for pattern in source.pattern.split()
    ]
    files = [file for file in git("ls-files", "--", *patterns).splitlines() if (ROOT / file).exists()]
    changes = {file: list(made_at(file)) for file in files}
    made, commit, date = min((c for some in changes.values() for c in some), key=_time, default=("", "", ""))
    if not commit:
        return None
    confirmed = again.recorded().get(page)
    if confirmed is None:
        return commit, date
    sampled = [c for file, some in changes.items() if Path(file).stem in confirmed["results"] for c in some]
    try:
        then = int(git("log", "-1", "--format=%ct", confirmed["commit"]))
    except subprocess.CalledProcessError:  # a commit that is not part of this history
        return commit, date
    if not sampled or then < int(made) or min(map(_time, sampled)) > int(made):
        return commit, date
    return confirmed["commit"], f"{confirmed['date']}, {len(confirmed['results'])} again"


def _time(change: Sequence[str]) -> int:
    return int(change[0])


def made_at(file: str) -> Iterator[list[str]]:
    """Time, commit and date of what made a result, or each of its parts; those of the file's last change where it does
    not say so."""
    commits = {commit.removesuffix("+") for commit in _commits(json.loads((ROOT / file).read_text()))}
    try:
        if commits and all(commits):
            yield from [git("log", "-1", "--format=%ct %h %cs", commit).split() for commit in commits]
            return
    except subprocess.CalledProcessError:  # a commit that is not part of this history
        pass
    yield git("log", "-1", "--format=%ct %h %cs", "--", file).split()


def _commits(values: Any) -> Iterator[str]:
    """Those that parts of a result say they are made at; nothing where they do not know."""
    if isinstance(values, list):
        for part in values:
            yield from _commits(part)
    elif isinstance(values, dict):
        if {"command", "commit"} <= values.keys():  # of benchmarks.machine.made_by
            yield values["commit"] or ""
        else:
            for part in values.values():
                yield from _commits(part)


def changed_since(commit: str, code: tuple[str, ...]) -> list[str]:
    """Files that mean something else than at a commit, or were not part of it, of those that scripts run; without
    changes that are known to change no result (:mod:`benchmarks.same`)."""
    then, known = meaning(commit, code), same.excused()
    now = meaning(None, code).items()
    return sorted(file for file, d in now if then.get(file) != d and (file, then.get(file), d) not in known)


@cache
def meaning(commit: str | None, code: tuple[str, ...]) -> dict[str, str]:
    """Digests of all files that scripts run, at a commit or (None) as they are."""
    if commit is None:
        return watched(ROOT, code)
    with tempfile.TemporaryDirectory(prefix="cryocore-claims-") as folder:
        return watched(checked_out(ROOT, commit, Path(folder)), code)


def git(*arguments: str) -> str:
    """What git says of this checkout."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def rows_of(claim: Claim, *, with_age: bool) -> tuple[list[list[str]], bool]:
    """Lines of the table, one for each source, and whether the claim holds."""
    wrong = differs(claim)
    says = "NOT what they give" if wrong else "what they give"
    if not with_age:
        return [[claim.page, says]], not wrong
    if not wrong and (lacking := unmeasured(claim)):
        wrong, says = True, f"NOT measured: {', '.join(lacking)}"
    rows, is_old = [], False
    for source in claim.sources:
        measured = measured_at(claim.page, source)
        changed = ["no result is committed"] if measured is None else changed_since(measured[0], source.code)
        names = ", ".join(changed[:NAMED]) + (f" and {len(changed) - NAMED} more" if len(changed) > NAMED else "")
        rows.append([claim.page, says, " ".join(measured or "-"), names or "none", source.command])
        is_old |= bool(changed)
    return rows, not (wrong or is_old)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the lines of each page; the exit status is 1 where one is not what it should be."""
    with_age = "--pages" not in (sys.argv[1:] if arguments is None else arguments)
    found = [rows_of(claim, with_age=with_age) for claim in CLAIMS]
    heads = ["page", "its text"] + (["results of", "code changed since", "measured by"] if with_age else [])
    print(table(heads, [row for rows, _ in found for row in rows]))
    wrong = sum(not holds for _, holds in found)
    if wrong:
        what = "differ from their results" if not with_age else "are older than the code, or differ from their results"
        print(f"\n{wrong} of {len(found)} pages {what}.", file=sys.stderr)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
