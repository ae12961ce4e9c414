"""What happens to a run when something goes wrong: break it, run the same command again, and compare every byte.

    python -m benchmarks.faults                 # those of one machine
    python -m benchmarks.faults --slurm         # those of a cluster; SLURM_CONF says which, with fake GPUs or real ones
    python -m benchmarks.faults "full disk"     # some of them

Each fault is tried several times, at moments drawn from the length of an undisturbed run. The outcome is in
benchmarks/results/faults.json, and in the table of docs/measurements/robustness.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from benchmarks.machine import made_by
from cryocore.tables.io import open_table, write_json
from cryocore.workflow.settings import STAGES

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "faults.json"
CONFIG: dict[str, Any] = {
    "run": "tiny",
    "n_rounds": 1,
    "n_shards": 2,
    "input": {
        "simulate": {"n_particles": 200, "box": 32, "pixel_size_angstrom": 6.0, "snr": 0.2, "n_micrographs": 4},
        "plant": {"wrong_pose": 0.3},
    },
    "select": {"rule": "fraction", "value": [0.8], "minimum": 20},
}
TARGETS = [f"results/tiny/log/round={r}/log.parquet" for r in range(2)]
PROFILE_CHANGES = {
    "latency-wait": 20,
    "set-resources": {stage: {"mem_mb": "700 * attempt", "runtime": "attempt"} for stage in STAGES},
}
"""From the profile of the project to one for small jobs on a test cluster."""
LONGEST_S = 900


@dataclass
class Run:
    """A run in a folder of its own; ``slurm``: on the cluster."""

    work: Path
    slurm: bool

    def command(self, *more: str, target: str | None = None) -> list[str]:
        """The one command of a user, or another one for one file."""
        profile = ["--profile", str(self.work / "profile")] if self.slurm else []
        program = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *profile]
        return [*program, "--configfile", "my.yaml", *more, "--", *([target] if target else TARGETS)]

    def start(self, *more: str, target: str | None = None) -> subprocess.Popen[str]:
        """Start it; what it says goes to a file."""
        with (self.work / "said.txt").open("a") as said:
            return subprocess.Popen(
                self.command(*more, target=target),
                cwd=self.work,
                stdout=said,
                stderr=said,
                text=True,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def again(self, *more: str, target: str | None = None) -> bool:
        """The same command, to its end; whether it went well."""
        return self.start(*more, target=target).wait(LONGEST_S) == 0

    @property
    def said(self) -> str:
        """All that it has said, on one line."""
        return " ".join((self.work / "said.txt").read_text().split())

    @property
    def results(self) -> Path:
        """Where its files are."""
        return self.work / "results" / "tiny"

    def digests(self) -> dict[str, str]:
        """What tells the bytes of each result, but for the run's own folder; scores of shards go once they are
        gathered."""
        place = str(self.work.resolve()).encode()
        kept = [p for p in self.results.rglob("*") if "scores_2_shards" not in p.parts]
        files = sorted(p for p in kept if p.is_file() and not p.name.startswith("."))
        return {
            str(p.relative_to(self.results)): hashlib.sha256(p.read_bytes().replace(place, b"")).hexdigest()
            for p in files
        }

    def stages(self) -> list[int]:
        """Processes of this run that are programs of a stage, on this machine."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                script = len(words) > 2 and words[1] == b"-P" and words[2].startswith(str(ROOT / "scripts").encode())
                if script and (entry / "cwd").resolve() == self.work:
                    found.append(int(entry.name))
        return found

    def jobs(self, states: str = "RUNNING") -> list[str]:
        """SLURM jobs of this run."""
        command = ["squeue", "--noheader", f"--states={states}", "--format=%i %Z"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return [line.split()[0] for line in lines if line.split()[1] == str(self.work)]


def wait_for(found: Callable[[], list[Any]], process: subprocess.Popen[str]) -> list[Any]:
    """What is found, as soon as there is any; nothing if the run ends first."""
    while process.poll() is None:
        if there := found():
            return there
        time.sleep(0.02)
    return []


@dataclass(frozen=True)
class Moment:
    """When to do harm: after ``wait_s`` seconds; ``number`` counts the tries, from 0."""

    wait_s: float
    number: int


def stage_killed(run: Run, moment: Moment) -> str:
    """SIGKILL of a stage's program."""
    process = run.start()
    time.sleep(moment.wait_s)
    stages = wait_for(run.stages, process)
    for pid in stages[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return f"run ended with {process.wait(LONGEST_S)}"


def _main_gets(number: signal.Signals) -> Callable[[Run, Moment], str]:
    def harm(run: Run, moment: Moment) -> str:
        process = run.start()
        time.sleep(moment.wait_s)
        process.send_signal(number)
        code = process.wait(LONGEST_S)
        if number is signal.SIGKILL:
            locked = not run.again() and "--unlock" in run.said
            subprocess.run(run.command("--unlock"), cwd=run.work, check=True, capture_output=True)
            return "the next run names --unlock" if locked else "the next run goes on"
        return f"run ended with {code}"

    harm.__doc__ = f"{number.name} to Snakemake itself."
    return harm


def full_disk(run: Run, moment: Moment) -> str:
    """A disk that is full after some of the files."""
    results = run.work / "results"
    results.mkdir()
    size = (1000, 2200, 3400)[moment.number % 3]
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(results)], check=True)
    try:
        code = run.start().wait(LONGEST_S)
        told = "No space left on device" in run.said
        partial = [p.name for p in results.rglob(".*") if p.is_file() and "snakemake" not in p.name]
        subprocess.run(["mount", "-o", "remount,size=1g", str(results)], check=True)
        went_well = run.again()
        shutil.copytree(results, run.work / "kept")
    finally:
        subprocess.run(["umount", str(results)], check=True)
    shutil.copytree(run.work / "kept", results, dirs_exist_ok=True)
    told_words = "says so" if told else "DOES NOT SAY SO"
    return f"run ended with {code}, {told_words}, {len(partial)} partial files; again: {went_well}"


READ_BY = {
    "round_0/half1.mrc": "round_0/noise.npz",
    "round_0/mask.mrc": "round_0/noise.npz",
    "round_0/fsc.parquet": "round_0/noise.npz",
    "round_0/sampling.npz": "round_0/noise.npz",
    "round_0/noise.npz": "round_0/scores_2_shards/0.parquet",
    "log/round=0/log.parquet": "round_1/subset.parquet",
    "round_0/sums_2_shards/0.npz": "round_0/map.mrc",
    "round_1/subset.parquet": "round_1/sums_2_shards/0.npz",
    "particles.parquet": "round_0/sums_2_shards/0.npz",
}
"""Kinds of intermediate files, and a file that is made of each."""


def corrupted(run: Run, moment: Moment) -> str:
    """One byte of a finished intermediate file changes; what is made of it is made again."""
    run.again()
    name = list(READ_BY)[moment.number % len(READ_BY)]
    path = run.results / name
    raw, at = bytearray(path.read_bytes()), path.stat()
    place = len(raw) // 3
    if path.suffix == ".parquet":  # in the column that all stages read
        with open_table(path) as file:
            ids = file.metadata.row_group(0).column(0)
            place = ids.data_page_offset + ids.total_compressed_size // 2
    raw[place] ^= 0x10
    path.write_bytes(raw)
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    failed = not run.again("--force", target=f"results/tiny/{READ_BY[name]}")
    named = f"{name}: " in run.said and "Delete it and run snakemake again" in run.said
    path.unlink()
    run.again(target=f"results/tiny/{READ_BY[name]}")
    return f"{name}: {'refused' if failed else 'NOT NOTICED'}, {'named with the fix' if named else 'NOT NAMED'}"


def two_at_once(run: Run, moment: Moment) -> str:
    """A second Snakemake in the same folder."""
    process = run.start()
    time.sleep(moment.wait_s)
    second = run.start().wait(LONGEST_S) if process.poll() is None else None
    return f"second ended with {second}, first with {process.wait(LONGEST_S)}"


def job_cancelled(run: Run, moment: Moment) -> str:
    """scancel of a running job."""
    process = run.start()
    time.sleep(moment.wait_s)
    jobs = wait_for(run.jobs, process)
    for job in jobs[:1]:
        subprocess.run(["scancel", job], check=True)
    return f"run ended with {process.wait(LONGEST_S)}"


def time_limit(run: Run, moment: Moment) -> str:
    """A job that hangs until its time is up; the next try has more."""
    process = run.start()
    time.sleep(moment.wait_s)
    for pid in wait_for(run.stages, process)[:1]:
        os.kill(pid, signal.SIGSTOP)
    code = process.wait(LONGEST_S)
    return f"run ended with {code}, {run.said.count('Trying to restart')} tries more"


def out_of_memory(run: Run, moment: Moment) -> str:
    """A job that is given too little memory at first."""
    little = (f"{stage}:mem_mb=700 if attempt > 1 else 60" for stage in ("simulate", "ingest"))
    process = run.start("--set-resources", *little)
    code = process.wait(LONGEST_S)
    return f"run ended with {code}, {run.said.count('Trying to restart')} tries more"


def node_drained(run: Run, moment: Moment) -> str:
    """The node is drained, and comes back after half a minute."""
    process = run.start()
    time.sleep(moment.wait_s)
    node = subprocess.run(["sinfo", "-hN", "-o", "%N"], capture_output=True, text=True, check=True).stdout.split()[0]
    control = ["scontrol", "update", f"nodename={node}"]
    subprocess.run([*control, "state=drain", "reason=test"], check=True)
    time.sleep(30)
    subprocess.run([*control, "state=resume"], check=True)
    return f"run ended with {process.wait(LONGEST_S)}"


def main_killed_on_cluster(run: Run, moment: Moment) -> str:
    """SIGKILL of Snakemake while its jobs run on, and another start at once."""
    process = run.start()
    time.sleep(moment.wait_s)
    wait_for(run.jobs, process)
    process.kill()
    process.wait()
    left = len(run.jobs("RUNNING,PENDING"))
    subprocess.run(run.command("--unlock"), cwd=run.work, check=True, capture_output=True)
    return f"{left} jobs ran on"


def late_files(run: Run, moment: Moment) -> str:
    """Files show only seconds after they were written."""
    process = run.start()
    hidden: list[tuple[float, Path, Path]] = []
    known: set[Path] = set()
    while process.poll() is None:
        for path in list(run.results.glob("round_*/*.parquet")) + list(run.results.glob("round_*/*.mrc")):
            if path not in known and not path.name.startswith("."):
                known.add(path)
                away = path.with_name(f".{path.name}.late")
                with contextlib.suppress(FileNotFoundError):
                    path.rename(away)
                    hidden.append((time.monotonic() + 6, away, path))
        for entry in [h for h in hidden if h[0] < time.monotonic()]:
            entry[1].rename(entry[2])
            hidden.remove(entry)
        time.sleep(0.02)
    for _, away, path in hidden:
        away.rename(path)
    return f"run ended with {process.returncode}, {len(known)} files were late"


Fault = Callable[[Run, Moment], str]
LOCAL: dict[str, tuple[Fault, int]] = {
    "stage killed": (stage_killed, 4),
    "Snakemake killed": (_main_gets(signal.SIGKILL), 4),
    "Snakemake interrupted (Ctrl-C)": (_main_gets(signal.SIGINT), 2),
    "Snakemake terminated": (_main_gets(signal.SIGTERM), 2),
    "full disk": (full_disk, 3),
    "corrupted file": (corrupted, 9),
    "two at once": (two_at_once, 1),
}
CLUSTER: dict[str, tuple[Fault, int]] = {
    "job's program killed": (stage_killed, 2),
    "scancel": (job_cancelled, 2),
    "time limit": (time_limit, 2),
    "out of memory": (out_of_memory, 2),
    "node drained": (node_drained, 2),
    "Snakemake killed, jobs run on": (main_killed_on_cluster, 2),
    "late files": (late_files, 2),
}


def fresh(folder: Path, *, slurm: bool) -> Run:
    """A run that has not begun."""
    folder.mkdir(parents=True)
    (folder / "my.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "profile").mkdir()
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text()) | PROFILE_CHANGES
    (folder / "profile/config.yaml").write_text(yaml.safe_dump(profile))
    limits = {"max_runtime": "1d", "max_mem_mb": 8000, "max_threads": 8}
    partitions = {"partitions": {"cpu": limits, "gpu": {**limits, "max_gpu": 2}}}
    (folder / "profile/partitions.yaml").write_text(yaml.safe_dump(partitions))
    return Run(folder.resolve(), slurm)


def tried(
    name: str, fault: Fault, times: int, base: Path, reference: dict[str, str], length_s: float, slurm: bool
) -> Any:
    """Try one fault so many times."""
    tries = []
    for i in range(times):
        run = fresh(base / f"{name.replace(' ', '_').replace(chr(39), '')}_{i}", slurm=slurm)
        when = random.Random(f"{name} {i}").uniform(0.1, 0.8)  # noqa: S311 - no secret
        told = fault(run, Moment(when * length_s, i))
        went_on = run.again()
        same = run.digests() == reference
        leftovers = [p.name for p in run.results.rglob(".*") if p.is_file() and not p.name.startswith(".snakemake")]
        tries.append({"told": told, "went_on": went_on, "same_bytes": same, "leftovers": len(leftovers)})
        print(
            f"{name}, {i + 1} of {times}: {told}; then {'done' if went_on else 'FAILED'}, "
            f"{'the same bytes' if same else 'OTHER BYTES'}, {len(leftovers)} files left over",
            flush=True,
        )
        if went_on and same:
            shutil.rmtree(run.work)
    return tries


def main(
    names: Annotated[list[str] | None, typer.Argument(help="which faults; default: all")] = None,
    slurm: Annotated[bool, typer.Option(help="those of a cluster")] = False,
) -> None:
    """Break runs, run them again, and say what came of it."""
    base = Path(tempfile.mkdtemp(prefix="cryocore-faults-"))
    faults = CLUSTER if slurm else LOCAL
    plain = fresh(base / "undisturbed", slurm=False)
    began = time.monotonic()
    if not plain.again():
        raise SystemExit(f"the undisturbed run failed: see {plain.work / 'said.txt'}")
    length_s, reference = time.monotonic() - began, plain.digests()
    record = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"faults": {}, "made": {}}
    for name in names or faults:
        fault, times = faults[name]
        waits = 6 * length_s if slurm else length_s
        record["faults"][name] = tried(name, fault, times, base, reference, min(waits, 100.0), slurm)
        record["made"][name] = made_by(f'python -m benchmarks.faults "{name}"' + " --slurm" * slurm)["made"]
        write_json(RESULTS, record)


if __name__ == "__main__":
    typer.run(main)
