"""Whether code that has changed computes the same: ``python -m benchmarks.same COMMIT``.

A set of runs and conversions by the code of COMMIT and by that at hand: of the demo, its map sharpened, and of its
particles as a user's file, with planted errors, shards, a cache and the audit. Where all their tables, maps, images and
lists are the same, the files that differ between both are kept in ``benchmarks/results/same.json`` as pairs of digests,
which ``make claims`` takes for no change. Texts, figures and times are not compared; CPU seconds of both are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pyarrow as pa
import yaml

from benchmarks.machine import made_by
from benchmarks.validation.common import ROOT
from benchmarks.watched import checked_out, watched
from cryocore.tables.io import read_table, write_json
from experiments.runs import SCRIPTS

RECORD = ROOT / "benchmarks" / "results" / "same.json"
FILE: dict[str, Any] = {
    "run": "file",
    "symmetry": "C1",
    "n_rounds": 1,
    "n_shards": 2,
    "audit": True,
    "input": {
        "star": "results/demo/simulated/particles.star",
        "cache": True,
        "plant": {"wrong_pose": 0.1, "wrong_shift": 0.1, "junk": 0.1},
    },
}
CONVERSIONS = (("particles.star", "a.cs"), ("a.cs", "b.star"), ("particles.star", "c.thu"), ("c.thu", "d.star"))
CODE = (*SCRIPTS, "cryocore/commands/postprocess.py")
"""What the runs are of."""
COMPARED = (".parquet", ".mrc", ".mrcs", ".star", ".cs", ".thu")


def outcome(code: Path, folder: Path) -> tuple[Path, float]:
    """What the code makes in a folder, and CPU seconds."""
    folder.mkdir()
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    (folder / "file.yaml").write_text(yaml.safe_dump(FILE))
    python, environment = [sys.executable, "-P", "-m"], {**os.environ, "PYTHONPATH": str(code)}
    workflow = [*python, "snakemake", "--no-hooks", "--quiet", "all", "--snakefile", str(code / "Snakefile")]
    commands = [workflow, [*workflow, "--configfile", "file.yaml"]]
    simulated = "results/demo/simulated/"
    for source, out in CONVERSIONS:
        given = simulated + source if source == "particles.star" else source
        more = ["--pixel-size", "2.2"] if source.endswith(".thu") else []
        commands.append([*python, "cryocore", "convert", given, out, *more])
    commands.append([*python, "cryocore", "postprocess", "results/demo", "--out", "sharpened"])
    for command in commands:
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=sys.stderr)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return folder, sum(getattr(ended, t) - getattr(began, t) for t in ("ru_utime", "ru_stime"))


def differing(first: Path, second: Path) -> Iterator[str]:
    """Files of two folders that are not in both, or do not hold the same."""
    names = [
        {p.relative_to(f).as_posix() for p in f.rglob("*") if p.suffix in COMPARED and ".snakemake" not in p.parts}
        for f in (first, second)
    ]
    for name in sorted(names[0] | names[1]):
        if name not in names[0] & names[1] or not alike(first / name, second / name):
            yield name


def alike(first: Path, second: Path) -> bool:
    """Whether two files hold the same, whatever they say of what made them."""
    if first.suffix == ".parquet":
        return bool(_stored(first) == _stored(second))
    if first.suffix in (".mrc", ".mrcs"):
        with mrcfile.mmap(first) as a, mrcfile.mmap(second) as b:
            return a.voxel_size == b.voxel_size and np.array_equal(a.data, b.data)
    return first.read_bytes() == second.read_bytes()


def _stored(path: Path) -> bytes:
    """The columns of a table as Arrow stores them: NaN is the same as NaN."""
    table, sink = read_table(path).replace_schema_metadata().combine_chunks(), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def pairs(then: Path) -> dict[str, list[str | None]]:
    """Digests, before and now, of files of the stages that mean something else than those ``then``."""
    before, now = watched(then, CODE), watched(ROOT, CODE)
    return {f: [before.get(f), now.get(f)] for f in sorted(before | now) if before.get(f) != now.get(f)}


def excused() -> set[tuple[str, str | None, str | None]]:
    """File, digest before and digest after, of changes that change no result: of each run, and from one run's code to
    another's where both were compared with the same commit."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    found = {(file, *change) for part in record.values() for file, change in part["files"].items()}
    return found | {
        (file, a, b) for file, start, a in found for other, first, b in found if (file, start) == (other, first)
    }


def main() -> None:
    """Compare, and keep what was found; the exit status is 1 where results differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.same")
    parser.add_argument("commit")
    commit = parser.parse_args().commit
    with tempfile.TemporaryDirectory(prefix="cryocore-same-") as name:
        then, runs = checked_out(ROOT, commit, Path(name) / "code"), Path(name) / "runs"
        seconds = []
        for code, kept in ((then, "then"), (ROOT, "now")):
            folder, used = outcome(code, runs)  # in one place, which files name
            shutil.move(folder, Path(name) / kept)
            seconds.append(round(used))
        different = list(differing(Path(name) / "then", Path(name) / "now"))
        print(*(f"differs: {file}" for file in different), sep="\n")
        print(f"CPU seconds: {seconds[0]} then, {seconds[1]} now")
        if different:
            sys.exit(1)
        record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        found = {**made_by(f"python -m benchmarks.same {commit}"), "cpu_seconds": seconds, "files": pairs(then)}
        write_json(RECORD, record | {f"{commit} {found['made']['commit']}": found})


if __name__ == "__main__":
    main()
