"""Cases through the workflow, one after the other: resumable, and a case that fails stops no other."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import yaml
from tqdm import tqdm

from benchmarks.machine import made_by
from benchmarks.validation.common import ROOT, Skipped, need_data
from cryocore import __version__
from cryocore.backend import get_backend
from cryocore.config.run import Config, parse_config
from cryocore.errors import InputError
from cryocore.tables.io import write_json
from cryocore.workflow.provenance import code_version
from cryocore.workflow.settings import STAGES
from experiments import quality, trouble
from experiments.cases import Case
from experiments.densities import in_box
from experiments.evaluate import evaluate, log_of

WORK = ROOT / "results" / "experiments"
DENSITIES = WORK / "densities"
STORE = ROOT / "benchmarks" / "results" / "experiments"
RUN = "run"
SHARED = "shared:"
IN_BOX = re.compile(r"(?P<source>.+)@(?P<box>\d+)")
"""A map that is brought to a box."""
MEASURING = ("evaluate", "comparisons")
"""Modules that measure any case."""
AFTERWARDS = "look", "report", "audit"
"""Stages that change no number of a case."""
SCRIPTS = tuple(f"scripts/{stage}.py" for stage in STAGES if stage not in AFTERWARDS)
STEPS = re.compile(r"^(\d+) of (\d+) steps")


@dataclass(frozen=True)
class Outcome:
    """What became of a case: ``state`` is done, up to date, skipped or failed; ``text`` its numbers, reason or log."""

    case: Case
    state: str
    text: str
    seconds: float


def run_cases(
    cases: Sequence[Case], *, cores: int, discard: bool = False, work: Path = WORK, store: Path = STORE
) -> list[Outcome]:
    """Run and measure cases in turn, and say how each ended.

    Parameters
    ----------
    cores : that the workflow may use
    discard : remove images, maps and logs of a case once it is measured; it stays up to date without them
    work : every case has a folder there, in which the workflow runs
    store : one small JSON file per case
    """
    outcomes = []
    for number, case in enumerate(cases, start=1):
        head = f"[{number}/{len(cases)}] {case.name}"
        with tqdm(desc=head, unit="step", disable=None, leave=False) as bar:
            outcome = run_case(case, cores=cores, discard=discard, work=work, store=store, bar=bar)
        print(f"{head}: {outcome.state}{outcome.text and ', '}{outcome.text} ({outcome.seconds:.0f} s)", flush=True)
        outcomes.append(outcome)
    return outcomes


def run_case(case: Case, *, cores: int, discard: bool, work: Path, store: Path, bar: tqdm[Any]) -> Outcome:
    """Run and measure one case unless nothing that it depends on has changed since it was measured."""
    began = time.monotonic()
    home = work / case.name
    result = store / f"{case.name}.json"

    def ended(state: str, text: str) -> Outcome:
        return Outcome(case, state, text, time.monotonic() - began)

    try:
        config = configuration(case)
    except (Skipped, InputError) as reason:
        return ended("skipped" if isinstance(reason, Skipped) else "failed", str(reason))
    home.mkdir(parents=True, exist_ok=True)
    wanted = fingerprint(config, (*MEASURING, *measured_by(case)))
    tell = headline_of(case)
    if result.exists() and _read(home / "measured.json").get("fingerprint") == wanted:
        return ended("up to date", tell(_read(result)))
    try:
        with locked(home):
            values = values_of(case, home, config, cores, bar)
            about = {"name": case.name, "label": case.label, "sets": case.sets, "reference": case.reference}
            made = made_by(f"python -m experiments run {case.name}", shared_files(case.config))
            write_json(result, {**about, **case.factors, "cryocore": __version__, **made, **values})
            write_json(home / "measured.json", {"fingerprint": wanted})
            if discard:
                for part in ("results", "logs", ".snakemake"):
                    rmtree(home / part, ignore_errors=True)
    except Busy:
        return ended("skipped", "another process is at it")
    except WorkflowFailed as failure:
        return ended("failed", f"see {failure}")
    except Exception:  # whatever goes wrong with one case, the others shall run
        (home / "error.log").write_text(traceback.format_exc())
        return ended("failed", f"see {home / 'error.log'}")
    return ended("done", tell(values))


def values_of(case: Case, home: Path, config: Config, cores: int, bar: tqdm[Any]) -> dict[str, Any]:
    """Run a case and measure it. A case of trouble may end with a message to the user, which is what is measured.

    Raises
    ------
    WorkflowFailed  if the workflow ends with an error that is no such message.
    """
    progress: Callable[[str], None] = bar.set_postfix_str
    if is_quality(case):
        return quality.measure(config, get_backend(config.backend, threads=cores), progress)
    if is_trouble(case):
        first = [f"results/{RUN}/round_1/subset.parquet"]
        targets = first if "noise" in case.sets else [f"results/{RUN}/examine.json", *measures(config)]
        message = None
        try:
            run_workflow(home, config, cores, bar, *targets)
        except WorkflowFailed:
            message = trouble.stop_message(home / "logs" / RUN)
            if message is None:
                raise
        if "noise" in case.sets:
            return trouble.measure_noise(home, config, message)
        if message:
            logged = [r for r in range(config.n_rounds + 1) if log_of(home / "results" / RUN, r).exists()]
            run_workflow(home, config, cores, bar, *measures(config)[: len(logged)])
        return trouble.measure(home, config, get_backend(config.backend, threads=cores), message, progress)
    run_workflow(home, config, cores, bar, *measures(config))
    return evaluate(home, config, get_backend(config.backend, threads=cores), progress=progress)


def is_trouble(case: Case) -> bool:
    """Whether a case is one of ``trouble.yaml``."""
    return bool({"trouble", "noise"}.intersection(case.sets))


def is_quality(case: Case) -> bool:
    """Whether a case is one of ``quality.yaml``."""
    return "quality-grid" in case.sets


def measured_by(case: Case) -> tuple[str, ...]:
    """The modules that measure a case beside those of any."""
    return ("trouble",) if is_trouble(case) else ("quality",) if is_quality(case) else ()


def headline_of(case: Case) -> Callable[[dict[str, Any]], str]:
    """What says a case in one line."""
    return trouble.headline if is_trouble(case) else quality.headline if is_quality(case) else headline


def configuration(case: Case) -> Config:
    """The case's configuration, checked, with the paths of shared data filled in.

    Raises
    ------
    Skipped     where a file of the shared data is not there.
    InputError  if the workflow would refuse it.
    """
    return parse_config({"run": RUN, **_with_shared_files(case.config)}, file=case.name)


def _with_shared_files(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _with_shared_files(value) for key, value in values.items()}
    if not isinstance(values, str):
        return values
    if found := IN_BOX.fullmatch(values):
        return str(in_box(_with_shared_files(found["source"]), int(found["box"]), DENSITIES).resolve())
    return str(need_data(values.removeprefix(SHARED)).resolve()) if values.startswith(SHARED) else values


def shared_files(values: Any) -> Iterator[Path]:
    """Files of the shared data that a case's settings name."""
    if isinstance(values, dict):
        for value in values.values():
            yield from shared_files(value)
    elif isinstance(values, str) and values.startswith(SHARED):
        found = IN_BOX.fullmatch(values)
        yield need_data((found["source"] if found else values).removeprefix(SHARED))


def fingerprint(config: Config, measuring: Sequence[str]) -> str:
    """Digest of what decides about a case's numbers: its settings, the code of the stages and that of the modules that
    measure it."""
    code: dict[str, str] = {}
    for file in [*SCRIPTS] + [f"experiments/{name}.py" for name in measuring]:
        code |= code_version(file, root=ROOT)
    text = json.dumps([config.model_dump(mode="json", exclude={"backend"}), code], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def measures(config: Config) -> list[str]:
    """What is measured of all rounds of a case, their logs and what they are worth: no report is drawn."""
    return [f"results/{RUN}/round_{r}/metrics.json" for r in range(config.n_rounds + 1)]


class WorkflowFailed(Exception):
    """Snakemake ended with an error; the message is the path of its log."""


class Busy(Exception):
    """Another process runs the case."""


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Keep other processes out of a case; a lock that an interrupted Snakemake left in it is then nobody's."""
    with (home / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy from None
        rmtree(home / ".snakemake" / "locks", ignore_errors=True)
        yield


def run_workflow(home: Path, config: Config, cores: int, bar: tqdm[Any], *targets: str) -> None:
    """The ordinary workflow in a case's folder, or only some of its files; what it prints goes to ``snakemake.log``.

    Raises
    ------
    WorkflowFailed  if it ends with an error.
    """
    text = yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True), sort_keys=False)
    (home / "config.yaml").write_text(text)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--no-hooks"]
    command += ["--cores", str(cores), "--configfile", "config.yaml", "--", *targets]
    path = home / "snakemake.log"
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with path.open("w") as record, subprocess.Popen(command, cwd=home, **streams) as process:
        # at Ctrl-C Snakemake gets the signal as well, ends its jobs and closes the pipe; leaving the block waits for it
        for line in process.stdout or []:
            record.write(line)
            record.flush()
            if found := STEPS.match(line):
                bar.total = int(found[2])
                bar.update(int(found[1]) - bar.n)
    if process.returncode:
        raise WorkflowFailed(path)


def headline(values: dict[str, Any]) -> str:
    """A case in one line: AUC of the score that selects, the share of kept particles that is correct, and the map.

    >>> headline({"rounds": [{"aucs": {"z": {"any": 0.9}}, "correct_rate": None, "fsc_truth_area": 0.5}],
    ...           "selected_by": "z"})
    'AUC 0.900, FSC area 0.500'
    """
    last = values["rounds"][-1]
    auc = last["aucs"].get(values["selected_by"], {}).get("any")
    parts = (("AUC", auc), ("correct rate", last["correct_rate"]), ("FSC area", last["fsc_truth_area"]))
    return ", ".join(f"{name} {value:.3f}" for name, value in parts if value is not None)


def summary_lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The end of a run: how many cases ended how, and the failed ones with where to look."""
    states = ("done", "up to date", "skipped", "failed")
    counts = {state: sum(outcome.state == state for outcome in outcomes) for state in states}
    yield ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    for outcome in outcomes:
        if outcome.state in ("skipped", "failed"):
            yield f"  {outcome.state}: {outcome.case.name}: {outcome.text}"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}
