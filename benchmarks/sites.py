"""What a cluster can say no to, tried on a real one: what is shown, when, and whether the run then ends as without it.

    python -m benchmarks.sites FOLDER [CASE ...]

SLURM_CONF names the cluster: one of one's own, since partitions, nodes and slurm.conf change; 8 CPUs, 8 GB, 2 GPUs.
Cases of accounts and QOS need slurmdbd, AccountingStorageEnforce=associations,limits,qos, and a QOS `short` of at most
10 minutes. Those of disks mount small ones and need root, quotas the programs of btrfs. The outcome is in
benchmarks/results/sites.json, and in a table of docs/measurements/robustness.md.
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

from benchmarks.machine import made_by
from cryocore.tables.io import write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "sites.json"
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
LONGEST_S = 400.0
SHOWN = (
    "SLURM refused",
    "SLURM ended",
    "SLURM put back",
    "SLURM does not start",
    "appears to be invalid",
    "cannot be written",
    "no space left on device",
    "No space left on device",
    "disk quota exceeded",
    "Disk quota exceeded",
    "clock skew",
)
PREEMPTS = """PreemptType=preempt/partition_prio
JobRequeue=0
PreemptMode={mode}
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF State=UP
"""
"""Lines of slurm.conf that let jobs of one partition end those of the others."""
NODE_CLOCKS = """
import os, random, time

if "SLURM_JOB_ID" in os.environ:
    os.environ["CLOCK_OFF_S"] = str(random.Random(os.environ["SLURM_JOB_ID"]).uniform(-10, 10))
if "CLOCK_OFF_S" in os.environ:
    set_times = os.utime

    def off(path, times=None, **more):
        given = times is not None or "ns" in more
        now = time.time() + float(os.environ["CLOCK_OFF_S"])
        set_times(path, **({"times": times} | more if given else {"times": (now, now)} | more))

    os.utime = off
"""
"""A sitecustomize.py that dates what a job has made by a clock of its own, up to 10 s off; the times stand for those of
nodes, since Snakemake sets those of all outputs when a job ends."""

LIMITED = """#!/bin/sh
folder=$(dirname "$0") name=$(basename "$0")
echo "$name $*" >> "$folder/calls"
if mkdir "$folder/refused_$name" 2>/dev/null; then
    echo "$name: error: Rate limit exceeded, please retry momentarily" >&2
    exit 1
fi
tries=0
until mkdir "$folder/$(date +%s)" 2>/dev/null; do
    tries=$((tries + 1))
    echo "waits $name" >> "$folder/calls"
    sleep $tries
done
exec "$(PATH=${PATH#*"$folder":} command -v "$name")" "$@"
"""
"""A command of SLURM behind a limit of one request a second for all of them. As those of 23.02 and later do, it waits
1, 2, 3, ... s until it is let through; its first call gets the error that they have for it."""


@dataclass(frozen=True)
class Case:
    """A fault: options of Snakemake, names of partitions, something done before, and while a job runs.

    ``python`` is a sitecustomize.py, of Snakemake and of its jobs; ``commands`` a script in the place of SLURM's own.
    """

    options: tuple[str, ...] = ()
    partitions: tuple[str, str] = ("cpu", "gpu")
    python: str = ""
    commands: str = ""
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


def configured(lines: str) -> Callable[[Path], None]:
    """Add lines to slurm.conf, of which the last of a name counts; none: as it was."""
    conf = Path(os.environ["SLURM_CONF"])
    kept = conf.with_suffix(".kept")

    def change(_: Path) -> None:
        if not kept.exists():
            shutil.copy(conf, kept)
        conf.write_text(kept.read_text() + lines)
        control("reconfigure")
        time.sleep(2)

    return change


def preempt(_: str, work: Path) -> None:
    """Submit a short job that goes before all others."""
    command = ["sbatch", "-p", "urgent", "--exclusive", "--mem=100", "--output=/dev/null", "--wrap=sleep 5"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=work)


def on_node(words: str) -> Callable[[Path], None]:
    """Give jobs another environment: lines of SLURM's TaskProlog, ``export NAME=VALUE`` or ``unset NAME``."""

    def change(work: Path) -> None:
        prolog = Path(os.environ["SLURM_CONF"]).with_name("prolog.sh")
        prolog.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in words.format(work=work).splitlines()))
        prolog.chmod(0o755)
        configured(f"TaskProlog={prolog}\n")(work)

    return change


def full(folder: str, kib: int) -> Callable[[Path], None]:
    """Put a small disk in the place of a folder."""

    def change(work: Path) -> None:
        (work / folder).mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(work / folder)], check=True)

    return change


def with_room(folder: str) -> Callable[[Path], None]:
    """Take its files back to the disk of the work, with their times."""

    def change(work: Path) -> None:
        shutil.copytree(work / folder, work / "kept", symlinks=True)
        subprocess.run(["umount", str(work / folder)], check=True)
        (work / folder).rmdir()
        (work / "kept").rename(work / folder)

    return change


def quota(folder: str, kib: int) -> Callable[[Path], None]:
    """Put a disk with a quota, of btrfs, in the place of a folder."""

    def change(work: Path) -> None:
        (work / folder).mkdir(parents=True)
        image, place = work / "disk", str(work / folder)
        image.touch()
        os.truncate(image, 200 << 20)
        for command in (
            ["mkfs.btrfs", "-q", "-f", str(image)],
            ["mount", "-o", "loop", str(image), place],
            ["btrfs", "quota", "enable", place],
            ["btrfs", "qgroup", "limit", f"{kib}k", "0/5", place],
        ):
            subprocess.run(command, check=True)

    return change


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
        "preempted, and put back": Case(
            ("--slurm-requeue",),
            before=configured(PREEMPTS.format(mode="REQUEUE")),
            running=preempt,
            after=configured(""),
        ),
        "preempted for good": Case(
            before=configured(PREEMPTS.format(mode="CANCEL")), running=preempt, after=configured("")
        ),
        "results full": Case(before=full("results", 500), after=with_room("results")),
        "quota of results": Case(before=quota("results", 400), after=with_room("results")),
        "logs full": Case(before=full("logs", 8), after=with_room("logs")),
        ".snakemake full": Case(before=full(".snakemake", 40), after=with_room(".snakemake")),
        "no home on the node": Case(
            before=on_node("export HOME=/proc/nohome"), after=configured("TaskProlog=/bin/true\n")
        ),
        "HOME unset on the node": Case(before=on_node("unset HOME"), after=configured("TaskProlog=/bin/true\n")),
        "no home, XDG_CACHE_HOME elsewhere": Case(
            before=on_node("export HOME=/proc/nohome\nexport XDG_CACHE_HOME={work}/cache"),
            after=configured("TaskProlog=/bin/true\n"),
        ),
        "one request a second": Case(commands=LIMITED),
        "clocks of nodes up to 10 s off": Case(python=NODE_CLOCKS),
        "log folder not writable": Case(before=no_folder, after=lambda work: (work / "logs/slurm").unlink()),
    }


def main(folder: Path, names: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Try the cases, print a row of a table for each."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in its background ignores it
    undisturbed = folder / "undisturbed"
    reference = digests(undisturbed)
    if not all(reference.values()):
        reference = digests(run(fresh(undisturbed), Case(), slurm=False)[0])
    chosen = {name: case for name, case in cases().items() if not names or name in names}
    record: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"cases": {}, "made": {}}
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
        record["cases"][name] = {
            **first,
            "again": "same bytes" if digests(work) == reference else "differs",
            "left": left(work),
            "temporary files": temporary(work),
        }
        print(json.dumps({name: record["cases"][name]}), flush=True)
        record["made"][name] = made_by(f'python -m benchmarks.sites FOLDER "{name}"')["made"]
        write_json(RESULTS, record)


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
    with subprocess.Popen(
        command, cwd=work, env=environment(work, case), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
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
        is_paragraph = ": error: " in block[0]
        for line in lines[entry["line"] + 1 :]:
            if not line.strip() or not (line.startswith("    ") or is_paragraph) or line.startswith("    ["):
                break
            block.append(line.strip())
        entry["said"] = " / ".join(block)
        entry["seconds"] = round(entry["at"] - since(work, begun, entry), 1)
    return work, [{k: e[k] for k in ("said", "seconds")} for e in shown]


def environment(work: Path, case: Case) -> dict[str, str]:
    """That of Snakemake."""
    first = {}
    if case.python:
        (work / "python").mkdir(exist_ok=True)
        (work / "python/sitecustomize.py").write_text(case.python)
        first["PYTHONPATH"] = str(work / "python")
    if case.commands:
        (work / "commands").mkdir(exist_ok=True)
        for name in ("sbatch", "squeue", "scontrol", "scancel", "sinfo"):
            (work / "commands" / name).write_text(case.commands)
            (work / "commands" / name).chmod(0o755)
        first["PATH"] = str(work / "commands")
    return os.environ | {name: os.pathsep.join([place, os.environ.get(name, "")]) for name, place in first.items()}


def left(work: Path) -> int:
    """Jobs that a run which is done would do again."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--dry-run"]
    command += ["--profile", "profile", "--configfile", "my.yaml", "--", *TARGETS]
    said = subprocess.run(command, cwd=work, capture_output=True, text=True)
    return 0 if "Nothing to be done" in said.stdout + said.stderr else max(1, said.stdout.count("\nJob "))


def temporary(work: Path) -> list[str]:
    """Files that begin to be others."""
    return [str(p) for p in (work / "results").rglob(".*") if p.is_file() and not p.name.startswith(".snakemake")]


def since(work: Path, begun: float, entry: dict[str, Any]) -> float:
    """When that happened which is told of."""
    said = entry["said"]
    if said.startswith("SLURM put back") and "CANCELLED AT " in said:
        return time.mktime(time.strptime(said.split("CANCELLED AT ")[1].split()[0], "%Y-%m-%dT%H:%M:%S"))
    if said.startswith("SLURM ended"):
        number = said.split("SLURM job ")[1].split(")")[0]
        told = subprocess.run(["scontrol", "-o", "show", "job", number], capture_output=True, text=True).stdout
        end = told.split("EndTime=")[1].split()[0]
        return time.mktime(time.strptime(end, "%Y-%m-%dT%H:%M:%S"))
    file = work / "logs/tiny/slurm.jsonl"
    times = [json.loads(line)["time"] for line in file.read_text().splitlines()] if file.is_file() else []
    return max([begun, *(t for t in times if t <= entry["at"])])


def running_jobs(work: Path) -> list[str]:
    command = ["squeue", "--noheader", "--states=RUNNING", "--format=%i %Z"]
    rows = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return [row.split()[0] for row in rows if row.strip().endswith(str(work))]


def digests(work: Path) -> dict[str, str]:
    files = [work / target for target in TARGETS]
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() if f.is_file() else "" for f in files}


if __name__ == "__main__":
    typer.run(main)
