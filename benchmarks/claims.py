"""Whether pages of measurements say what the stored results say, and whether the code has changed since.

    python -m benchmarks.claims [--pages]

A page that is written from results has to be what they give, word for word. A result counts as old where code that it
was made by, or that measures it, means something else now than at the commit that it names (``made``), or else at the
one that last changed it: comments and documentation do not count (:mod:`cryocore.workflow.meaning`). A page is as old
as the oldest of its results, or as the last commit at which a sample of them, measured again, gave the same numbers
(``python -m benchmarks.again``). Results that name no commit, or were measured beside changes, are committed with the
code that made them, or they pass for younger. ``--pages`` leaves the second question out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
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
from cryocore.markdown import table
from cryocore.workflow.provenance import code_version
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


def by_blocks(name: str) -> Callable[[], Iterator[str]]:
    """A page whose words are written by hand, with its tables as results give them (:mod:`benchmarks.blocks`)."""

    def texts() -> Iterator[str]:
        yield blocks.filled((PAGES / f"{name}.md").read_text())

    return texts


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
    Claim(
        "methods",
        "alternatives.json cryosieve.json methods.json analysis/*",
        "python -m benchmarks.methods, benchmarks.alternatives, benchmarks.cryosieve, benchmarks.analysis",
        by_blocks("methods"),
        (
            *SCRIPTS,
            *(f"benchmarks/{name}.py" for name in ("alternatives", "cryosieve", "methods", "analysis/__main__")),
        ),
    ),
    Claim(
        "cost",
        "scaling.json cost.json replay/*",
        "python -m benchmarks.cost, benchmarks.scaling, benchmarks.replay",
        by_blocks("cost"),
        (*SCRIPTS, "benchmarks/cost.py", "benchmarks/replay/__main__.py"),
    ),
    Claim(
        "robustness",
        "faults.json sites.json fuzz.json",
        "python -m benchmarks.faults, benchmarks.sites, benchmarks.fuzz",
        by_blocks("robustness"),
        (*SCRIPTS, "benchmarks/faults.py", "benchmarks/sites.py", "benchmarks/fuzz/__main__.py"),
    ),
    Claim(
        "reproducibility",
        "configurations/*",
        "python -m benchmarks.configurations",
        by_blocks("reproducibility"),
        (*SCRIPTS, "benchmarks/configurations.py"),
    ),
)


def differs(claim: Claim) -> bool:
    """Whether a page is not what its results give."""
    page = PAGES / f"{claim.page}.md"
    return not page.exists() or page.read_text() not in set(claim.written())


def measured_at(claim: Claim) -> tuple[str, str] | None:
    """Commit and date of the last change of its oldest result, or later when a sample gave the same numbers again
    (:mod:`benchmarks.again`); None where none is committed."""
    patterns = [
        f":({'exclude,' * pattern.startswith('!')}glob)benchmarks/results/{pattern.removeprefix('!')}"
        for pattern in claim.pattern.split()
    ]
    files = [file for file in git("ls-files", "--", *patterns).splitlines() if (ROOT / file).exists()]
    changes = [change for file in files for change in made_at(file)]
    made, commit, date = min(changes, key=lambda change: int(change[0]), default=("", "", ""))
    if not commit:
        return None
    confirmed = again.recorded().get(claim.page)
    try:
        if confirmed is None or int(git("log", "-1", "--format=%ct", confirmed["commit"])) < int(made):
            return commit, date
    except subprocess.CalledProcessError:  # a commit that is not part of this history
        return commit, date
    return confirmed["commit"], f"{confirmed['date']}, {len(confirmed['results'])} again"


def made_at(file: str) -> Iterator[list[str]]:
    """Time, commit and date of what made a result, or each of its parts; those of the file's last change where it does
    not say so, or was measured beside changes, which are then committed with it."""
    commits = set(_commits(json.loads((ROOT / file).read_text())))
    try:
        if commits and not any(commit.endswith("+") for commit in commits):
            yield from [git("log", "-1", "--format=%ct %h %cs", commit).split() for commit in commits]
            return
    except subprocess.CalledProcessError:  # a commit that is not part of this history
        pass
    yield git("log", "-1", "--format=%ct %h %cs", "--", file).split()


def _commits(values: Any) -> Iterator[str]:
    """Those that parts of a result say they are made at; a plus where they do not know."""
    if isinstance(values, list):
        for part in values:
            yield from _commits(part)
    elif isinstance(values, dict):
        if {"command", "commit"} <= values.keys():  # of benchmarks.machine.made_by
            yield values["commit"] or "+"
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
        return _meaning(ROOT, code)
    with tempfile.TemporaryDirectory(prefix="cryocore-claims-") as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        return _meaning(Path(folder), code)


def _meaning(root: Path, code: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in code:
        if (root / file).exists():
            found |= code_version(file, root=root)
    return found


def git(*arguments: str) -> str:
    """What git says of this checkout."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def row_of(claim: Claim, *, with_age: bool) -> tuple[list[str], bool]:
    """A line of the table, and whether the claim holds."""
    wrong = differs(claim)
    says = "NOT what they give" if wrong else "what they give"
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
