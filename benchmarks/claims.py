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
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

from benchmarks import again, blocks
from benchmarks.blocks import PAGES, RESULTS
from benchmarks.validation.common import ROOT
from benchmarks.watched import watched
from cryocore.markdown import table
from experiments.runs import SCRIPTS

NAMED = 3
"""Files of changed code that are named."""


@dataclass(frozen=True)
class Claim:
    """A page of measurements.

    ``pattern`` : of its results, below ``benchmarks/results``; several with spaces between, those of others behind an
        exclamation mark
    ``command`` : that measures them
    ``written`` : gives the texts that the page may have
    ``code`` : files that the results are made by, beside what they import
    """

    page: str
    pattern: str
    command: str
    written: Callable[[], Iterator[str]]
    code: tuple[str, ...]
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


EXPERIMENTS = "python -m experiments"
MEASURING = *SCRIPTS, "experiments/comparisons.py", "experiments/evaluate.py"
"""What cases are run and measured by."""


def experiments(page: str, pattern: str, part: str, module: str, *own: str) -> Claim:
    """A page of ``experiments``, and the modules of its own that measure it."""
    code = (*MEASURING, *(f"experiments/{name}.py" for name in own))
    return Claim(page, pattern, f"{EXPERIMENTS} {part}", by_module(f"experiments.{module}"), code)


def by_hand(page: str, pattern: str, modules: str, tables: str) -> Claim:
    """A page whose words are written by hand, with tables as results give them (:mod:`benchmarks.blocks`); modules of
    ``benchmarks`` measure them."""

    def texts() -> Iterator[str]:
        yield blocks.filled((PAGES / f"{page}.md").read_text())

    files = [ROOT / "benchmarks" / name for name in modules.split()]
    code = (str((f / "__main__.py" if f.is_dir() else f.with_suffix(".py")).relative_to(ROOT)) for f in files)
    command = "python -m " + ", ".join(f"benchmarks.{name}" for name in modules.split())
    return Claim(page, pattern, command, texts, (*SCRIPTS, *code), tuple(tables.split()))


CLAIMS = (
    Claim(
        "accuracy",
        "validation/*",
        "make validation",
        by_record("benchmarks.validation.page", "validation"),
        (*SCRIPTS, "benchmarks/validation/__main__.py"),
    ),
    experiments("experiments", "experiments/* !experiments/trouble-* !experiments/quality-*", "run table", "page"),
    experiments("trouble", "experiments/trouble-*", "run trouble", "trouble_page", "trouble"),
    experiments("quality", "experiments/quality-*", "run quality", "quality_page", "quality"),
    Claim(
        "states", "states/*", f"{EXPERIMENTS} states", by_module("experiments.states_page"), ("experiments/states.py",)
    ),
    experiments("region", "region/*", "region", "region_page", "region"),
    experiments(
        "selectors",
        "selectors/*",
        "selectors",
        "selectors.page",
        "selectors/measure",
        "selectors/cistem",
        "selectors/cryosieve",
    ),
    experiments("seeds", "seeds/*", "seeds", "seeds_page", "seeds", "residual_arrays"),
    experiments("weighting", "solvers/*", "solvers", "solvers_page", "solvers"),
    experiments("classifier-gain", "classifiers/*", "classifiers", "classifiers_page", "classifiers"),
    Claim(
        "performance",
        "performance/*",
        "make bench",
        by_record("benchmarks.performance.page", "performance"),
        (*SCRIPTS, "benchmarks/performance/__main__.py"),
    ),
    by_hand(
        "methods",
        "alternatives.json cryosieve.json methods.json analysis/*",
        "alternatives cryosieve methods analysis",
        "noise damping alternatives error-rate direction cryosieve sharpening reslog refinement",
    ),
    by_hand(
        "cost", "scaling.json cost.json replay/*", "cost scaling replay", "scaling requests cache replay conversions"
    ),
    by_hand("robustness", "faults.json sites.json fuzz.json", "faults sites fuzz", "faults sites fuzz"),
    by_hand("reproducibility", "configurations/*", "configurations", "configurations"),
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


def measured_at(claim: Claim) -> tuple[str, str] | None:
    """Commit and date of the last change of its oldest result, or later when a sample gave the same numbers again
    (:mod:`benchmarks.again`); None where none is committed."""
    patterns = [
        f":({'exclude,' * pattern.startswith('!')}glob)benchmarks/results/{pattern.removeprefix('!')}"
        for pattern in claim.pattern.split()
    ]
    files = [file for file in git("ls-files", "--", *patterns).splitlines() if (ROOT / file).exists()]
    changes = {file: list(made_at(file)) for file in files}
    made, commit, date = min((c for some in changes.values() for c in some), key=_time, default=("", "", ""))
    if not commit:
        return None
    confirmed = again.recorded().get(claim.page)
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
    """Files that mean something else than at a commit, or were not part of it, of those that scripts run."""
    then = meaning(commit, code)
    return sorted(file for file, digest in meaning(None, code).items() if then.get(file) != digest)


@cache
def meaning(commit: str | None, code: tuple[str, ...]) -> dict[str, str]:
    """Digests of all files that scripts run, at a commit or (None) as they are."""
    if commit is None:
        return watched(ROOT, code)
    with tempfile.TemporaryDirectory(prefix="cryocore-claims-") as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        return watched(Path(folder), code)


def git(*arguments: str) -> str:
    """What git says of this checkout."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def row_of(claim: Claim, *, with_age: bool) -> tuple[list[str], bool]:
    """A line of the table, and whether the claim holds."""
    wrong = differs(claim)
    says = "NOT what they give" if wrong else "what they give"
    if with_age and not wrong and (lacking := unmeasured(claim)):
        wrong, says = True, f"NOT measured: {', '.join(lacking)}"
    if not with_age:
        return [claim.page, says], not wrong
    made = measured_at(claim)
    if made is None:
        return [claim.page, says, "-", "no result is committed", claim.command], False
    changed = changed_since(made[0], claim.code)
    names = ", ".join(changed[:NAMED]) + (f" and {len(changed) - NAMED} more" if len(changed) > NAMED else "")
    return [claim.page, says, " ".join(made), names or "none", claim.command], not wrong and not changed


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each page; the exit status is 1 where one is not what it should be."""
    with_age = "--pages" not in (sys.argv[1:] if arguments is None else arguments)
    rows = [row_of(claim, with_age=with_age) for claim in CLAIMS]
    heads = ["page", "its text"] + (["results of", "code changed since", "measured by"] if with_age else [])
    print(table(heads, [row for row, _ in rows]))
    wrong = sum(not holds for _, holds in rows)
    if wrong:
        what = "differ from their results" if not with_age else "are older than the code, or differ from their results"
        print(f"\n{wrong} of {len(rows)} pages {what}.", file=sys.stderr)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
