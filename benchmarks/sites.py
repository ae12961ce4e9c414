"""What a cluster can say no to, tried on a real one: what is shown, when, and whether the run then ends as without it.

    python -m benchmarks.sites FOLDER [CASE ...]

SLURM_CONF names the cluster: one of one's own, since partitions and nodes are changed on it; 8 CPUs, 8 GB, 2 GPUs.
Cases of accounts and QOS need slurmdbd, AccountingStorageEnforce=associations,limits,qos, and a QOS `short` of at most
10 minutes.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer
import yaml

ROOT = Path(__file__).resolve().parents[1]
CONFIG: dict[str, Any] = {
    "run": "tiny",
    "n_rounds": 1,
    "symmetry": "C1",
    "backend": "auto",
    "input": {
        "simulate": {"n_particles": 200, "box": 32, "pixel_size_angstrom": 6.0, "snr": 0.2, "n_micrographs": 4},
        "plant": {"wrong_pose": 0.3},
    },
    "select": {"rule": "fraction", "value": [0.8], "minimum": 20},
}
TARGETS = ["results/tiny/particles.parquet", "results/tiny/truth.parquet"]
LIMITS = {"max_runtime": "1d", "max_mem_mb": 8000, "max_threads": 8}
LONGEST_S = 240.0
SHOWN = ("SLURM refused", "SLURM ended", "SLURM does not start", "appears to be invalid", "cannot be written")


@dataclass(frozen=True)
class Case:
    """A fault: options of Snakemake, names of partitions, something done before, and while a job runs."""

    options: tuple[str, ...] = ()
    partitions: tuple[str, str] = ("cpu", "gpu")
    before: Callable[[Path], None] = lambda work: None
    running: Callable[[str, Path], None] | None = None
    after: Callable[[Path], None] = lambda work: None


def control(*arguments: str) -> None:
    subprocess.run(["scontrol", *arguments], check=True)


def node(state: str) -> Callable[[Any], None]:
    """Change the state of the node; one that has come back by itself cannot be resumed."""
    name = subprocess.run(["sinfo", "-hN", "-o", "%N"], capture_output=True, text=True).stdout.split()[0]
    change = ["scontrol", "update", f"nodename={name}", f"state={state}", "reason=test"]
    return lambda _: subprocess.run(change, check=state != "resume") and None


def longest(minutes: str) -> Callable[[Path], None]:
    return lambda _: [control("update", f"partition={p}", f"MaxTime={minutes}") for p in ("cpu", "gpu")] and None


def most_jobs(number: str) -> Callable[[Path], None]:
    change = ["sacctmgr", "-i", "modify", "user", getpass.getuser(), "set", f"MaxSubmitJobs={number}"]
    return lambda _: subprocess.run(change, check=True, capture_output=True) and None


def stop(work: Path) -> None:
    """Let a stage that is at work in a folder hang."""
    for _ in range(600):
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_stage = b"/scripts/" in (process / "cmdline").read_bytes().split(b"--settings")[0]
                if is_stage and (process / "cwd").resolve() == work:
                    return os.kill(int(process.name), signal.SIGSTOP)
        time.sleep(0.05)


def no_folder(work: Path) -> None:
    (work / "logs").mkdir()
    (work / "logs/slurm").write_text("a file in its place")


def cases() -> dict[str, Case]:
    each = ("simulate", "ingest", "truth")
    return {
        "memory over that of a node": Case(("--set-resources", "simulate:mem_mb=200000")),
        "partition unknown": Case(partitions=("nosuch", "nosuch-gpu")),
        "account unknown": Case(("--default-resources", "slurm_account=nobody")),
        "time over that of the QOS": Case(("--slurm-qos", "short")),
        "no more jobs allowed": Case(before=most_jobs("0"), after=most_jobs("-1")),
        "QOS unknown": Case(("--slurm-qos", "nosuch")),
        "reservation unknown": Case(("--slurm-reservation", "nosuch")),
        "node feature unknown": Case(("--set-resources", "simulate:constraint=fast")),
        "more GPUs than a node has": Case(("--set-resources", "simulate:gpu=8")),
        "more nodes than there are": Case(("--set-resources", "simulate:nodes=3")),
        "more CPUs than a node has": Case(("--set-threads", "simulate=64")),
        "time over that of the partition": Case(before=longest("10"), after=longest("UNLIMITED")),
        "node drained": Case(before=node("drain"), after=node("resume")),
        "node down while a job runs": Case(running=lambda _, work: node("down")(work), after=node("resume")),
        "scancel": Case(running=lambda job, _: subprocess.run(["scancel", job], check=True) and None),
        "job over its memory": Case(("--set-resources", *(f"{s}:mem_mb=700 if attempt > 1 else 60" for s in each))),
        "job over its time": Case(
            ("--set-resources", "simulate:runtime=1 if attempt == 1 else 5", "ingest:runtime=0", "truth:runtime=0"),
            running=lambda job, work: stop(work),
        ),
        "log folder not writable": Case(before=no_folder, after=lambda work: (work / "logs/slurm").unlink()),
    }


def main(folder: Path, names: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Try the cases, print a row of a table for each."""
    undisturbed = folder / "undisturbed"
    reference = digests(undisturbed)
    if not all(reference.values()):
        reference = digests(run(fresh(undisturbed), Case(), slurm=False)[0])
    chosen = {name: case for name, case in cases().items() if not names or name in names}
    found = {}
    for name, case in chosen.items():
        work = fresh(folder / name.replace(" ", "_"), case.partitions)
        case.before(work)
        try:
            _, shown = run(work, case)
        finally:
            case.after(work)
        first = shown[0] if shown else {"said": "", "seconds": None}
        write_profile(work, ("cpu", "gpu"))
        run(work, Case())
        found[name] = {**first, "again": "same bytes" if digests(work) == reference else "differs"}
        print(json.dumps({name: found[name]}), flush=True)
    (folder / "sites.json").write_text(json.dumps(found, indent=1))


def fresh(work: Path, partitions: tuple[str, str] = ("cpu", "gpu")) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    work = work.resolve()
    (work / "my.yaml").write_text(yaml.safe_dump(CONFIG))
    write_profile(work, partitions)
    return work


def write_profile(work: Path, partitions: tuple[str, str]) -> None:
    (work / "profile").mkdir(exist_ok=True)
    shutil.copy(ROOT / "profiles/slurm/config.yaml", work / "profile")
    limits = {partitions[0]: LIMITS, partitions[1]: {**LIMITS, "max_gpu": 8, "max_threads": 64}}
    (work / "profile/partitions.yaml").write_text(yaml.safe_dump({"partitions": limits}))


def run(work: Path, case: Case, *, slurm: bool = True) -> tuple[Path, list[dict[str, Any]]]:
    """Run it to its end, or until a job that does not start was told of; what was shown, and after how long.

    Seconds are those since the last submission, or since the job ended.
    """
    profile = ["--profile", "profile"] if slurm else []
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *profile, *case.options]
    command += ["--configfile", "my.yaml", "--", *TARGETS]
    shown: list[dict[str, Any]] = []
    begun, disturbed = time.time(), False
    with subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        said = cast(TextIO, process.stdout)
        os.set_blocking(said.fileno(), False)
        lines: list[str] = []
        while process.poll() is None and time.time() < begun + LONGEST_S:
            for line in said.readlines():
                lines.append(line.rstrip())
                if any(words in line for words in SHOWN):
                    shown.append({"line": len(lines) - 1, "at": time.time()})
            if case.running and not disturbed and (jobs := running_jobs(work)):
                time.sleep(4)
                case.running(jobs[0], work)
                disturbed = True
            if shown and "does not start" in lines[shown[0]["line"]]:
                process.send_signal(signal.SIGINT)
                process.wait()
            time.sleep(0.2)
        process.kill()
        lines += [line.rstrip() for line in said.readlines()]
    (work / "said.txt").open("a").write("\n".join(lines) + "\n")
    for entry in shown:
        block = [lines[entry["line"]]]
        for line in lines[entry["line"] + 1 :]:
            if not line.startswith("    ") or line.startswith("    ["):
                break
            block.append(line.strip())
        entry["said"] = " / ".join(block)
        entry["seconds"] = round(entry["at"] - since(work, begun, block[0]), 1)
    return work, [{k: e[k] for k in ("said", "seconds")} for e in shown]


def since(work: Path, begun: float, head: str) -> float:
    """When that happened which is told of."""
    if "SLURM job " in head and "ended" in head:
        number = head.split("SLURM job ")[1].split(")")[0]
        told = subprocess.run(["scontrol", "-o", "show", "job", number], capture_output=True, text=True).stdout
        end = told.split("EndTime=")[1].split()[0]
        return time.mktime(time.strptime(end, "%Y-%m-%dT%H:%M:%S"))
    file = work / "logs/tiny/slurm.jsonl"
    times = [json.loads(line)["time"] for line in file.read_text().splitlines()] if file.is_file() else []
    return max([begun, *times])


def running_jobs(work: Path) -> list[str]:
    command = ["squeue", "--noheader", "--states=RUNNING", "--format=%i %Z"]
    rows = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return [row.split()[0] for row in rows if row.strip().endswith(str(work))]


def digests(work: Path) -> dict[str, str]:
    files = [work / target for target in TARGETS]
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() if f.is_file() else "" for f in files}


if __name__ == "__main__":
    typer.run(main)
