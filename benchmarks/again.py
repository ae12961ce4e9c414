"""Some results of a page measured again: whether code that has changed since still gives them.

    python -m benchmarks.again [PAGE ...]

Where the code has changed since a page was measured, and rows that are measured again give the numbers that are
stored, the page is confirmed for this commit in ``benchmarks/results/again.json``, which ``make claims`` reads: a
sample has one of each kind of row, and one as old as the oldest. Where they differ, it says by how much, and the page
has to be measured anew. Times and memory are not compared.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.validation.common import ROOT
from cryocore.cores import available_cores
from cryocore.tables.io import write_json

RECORD = ROOT / "benchmarks" / "results" / "again.json"
TOLERANCE = 2e-4
"""Of numbers, relative to the larger or to 1: some orders of additions differ between machines."""
ABOUT = {"made", "cryocore", "machine", "date", "fingerprint", "digest", "cost", "seconds", "cpu_s", "gib"}
"""Keys of what is not a result."""
SHOWN = 5


@dataclass(frozen=True)
class Sample:
    """Results of a page, without the suffix, and what measures some by their names into a folder."""

    names: tuple[str, ...]
    measure: Callable[[Sequence[str], Path], None]


def by_run(module: str) -> Callable[[Sequence[str], Path], None]:
    """What ``run`` of a module of ``experiments`` measures."""
    return lambda names, store: import_module(f"experiments.{module}").run(names, cores=available_cores(), store=store)


def cases(names: Sequence[str], store: Path) -> None:
    """Cases of ``python -m experiments run``."""
    from experiments.cases import chosen, read_cases
    from experiments.runs import run_cases

    with tempfile.TemporaryDirectory(prefix="cryocore-again-") as work:
        run_cases(chosen(read_cases(), list(names)), cores=available_cores(), work=Path(work), store=store)


def solvers(names: Sequence[str], store: Path) -> None:
    """Cases of ``python -m experiments solvers``."""
    from experiments.cases import chosen
    from experiments.solvers import compare, read_specs

    declared, specs = read_specs()
    compare(chosen(declared, [f"{name}-solvers" for name in names]), specs, cores=available_cores(), store=store)


SAMPLES: dict[str, tuple[str, Sample]] = {
    "experiments": (
        "experiments",
        Sample(("small-uniform-30-snr0.02-n2000", "small-uniform-30-snr0.01-n1000-short", "hcn4-local-30"), cases),
    ),
    "trouble": ("experiments", Sample(("trouble-background-seed0", "trouble-duplicates-seed0"), cases)),
    "quality": (
        "experiments",
        Sample(("quality-small-none-snr0.02-0-seed4", "quality-small-particle-normal-snr0.02-0-seed0"), cases),
    ),
    "states": ("states", Sample(("none-0", "missing-0"), by_run("states"))),
    "region": ("region", Sample(("snr0.05-seed0",), by_run("region"))),
    "selectors": ("selectors", Sample(("small-state-seed0", "hcn4-real-seed0"), by_run("selectors.measure"))),
    "seeds": ("seeds", Sample(("small-1000", "proteasome-2000-half"), by_run("seeds"))),
    "weighting": ("solvers", Sample(("channel-uniform-10-snr0.01-n2000",), solvers)),
}
"""By page: the folder below ``benchmarks/results``, and what is measured again."""


def differences(stored: Any, found: Any, where: str = "") -> Iterator[str]:
    """Where two results differ beyond ``TOLERANCE``; what is stored of methods that are not installed here is left out,
    and what was not measured when it was stored."""
    if isinstance(stored, dict) and isinstance(found, dict):
        if "skipped" in found:
            return
        for key in sorted(stored.keys() - ABOUT):
            if key in found:
                yield from differences(stored[key], found[key], f"{where}/{key}")
            else:
                yield f"{where}/{key}: only stored"
    elif isinstance(stored, list) and isinstance(found, list) and len(stored) == len(found):
        for i, (a, b) in enumerate(zip(stored, found, strict=True)):
            yield from differences(a, b, f"{where}/{i}")
    elif isinstance(stored, int | float) and isinstance(found, int | float) and not isinstance(stored, bool):
        if not abs(stored - found) <= TOLERANCE * max(abs(stored), abs(found), 1.0):
            yield f"{where}: {stored:g}, and {found:g} again"
    elif stored != found:
        yield f"{where}: {stored!r}, and {found!r} again"


def again(page: str, commit: str) -> bool:
    """Measure the sample of a page; whether it gives what is stored, which is then recorded."""
    folder, sample = SAMPLES[page]
    stored = ROOT / "benchmarks" / "results" / folder
    with tempfile.TemporaryDirectory(prefix="cryocore-again-") as made:
        sample.measure(sample.names, Path(made))
        found = {name: Path(made) / f"{name}.json" for name in sample.names}
        missing = [name for name, file in found.items() if not file.exists()]
        if missing:
            print(f"{page}: {', '.join(missing)} could not be measured here", flush=True)
            return False
        said = [
            f"{name}{text}"
            for name, file in found.items()
            for text in differences(json.loads((stored / file.name).read_text()), json.loads(file.read_text()))
        ]
    if said:
        print(f"{page}: other numbers than stored, {len(said)} of them", *said[:SHOWN], sep="\n  ", flush=True)
        return False
    record(page, {"commit": commit, "date": time.strftime("%Y-%m-%d"), "results": list(sample.names)})
    print(f"{page}: {', '.join(sample.names)} give what is stored", flush=True)
    return True


def recorded() -> dict[str, dict[str, Any]]:
    """What was measured again, by page."""
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def record(page: str, values: dict[str, Any]) -> None:
    """Add a page to what was measured again, or put it in the place of what was there."""
    write_json(RECORD, dict(sorted({**recorded(), page: values}.items())))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure samples of the named pages, or of all."""
    from benchmarks.claims import git

    pages = list(sys.argv[1:] if arguments is None else arguments) or list(SAMPLES)
    for page in pages:
        if page not in SAMPLES:
            sys.exit(f"{page}: no sample; there are {', '.join(SAMPLES)}")
    code = ("cryocore", "experiments", "benchmarks", "scripts", "rules", "Snakefile", f":!{RECORD.relative_to(ROOT)}")
    if git("status", "--porcelain", "--", *code):
        sys.exit("Commit first: what is confirmed is confirmed for a commit.")
    held, commit = [], git("log", "-1", "--format=%h")
    for page in pages:
        with suppress(KeyboardInterrupt):
            held.append(again(page, commit))
    sys.exit(not all(held) or len(held) < len(pages))


if __name__ == "__main__":
    main()
