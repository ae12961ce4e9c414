"""A copy of the workflow that a test may edit, and a Snakemake to run it with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "config.yaml", "rules", "scripts", "profiles", "envs", "cryocore")


@dataclass(frozen=True)
class Workflow:
    """A checkout in ``code`` that runs in the directory ``work``."""

    code: Path
    work: Path

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Snakemake; its output, both streams together, is in ``stdout``."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(self.code / "Snakefile"), *arguments]
        outer = ("PYTHONPATH", "SNAKEMAKE_PROFILE", "CRYOCORE_LOG", "COLUMNS")
        environment = {k: v for k, v in os.environ.items() if k not in outer}
        done = subprocess.run(
            command, cwd=self.work, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
        return done

    def configure(self, **values: Any) -> str:
        """Write a configuration and return its name."""
        (self.work / "my.yaml").write_text(yaml.safe_dump(values))
        return "my.yaml"

    def jobs(self, *arguments: str) -> set[str]:
        """The messages of the jobs that would run."""
        return set(re.findall(r"^ *Job \d+: (.+)$", self.snakemake("--dry-run", *arguments).stdout, re.MULTILINE))

    def edit(self, file: str, text: str = "\nedited = 1\n") -> None:
        """Append code to a file of the checkout."""
        with (self.code / file).open("a") as stream:
            stream.write(text)


def fresh_copy(folder: Path) -> Workflow:
    """Copy the workflow below ``folder``, into folders with spaces in their names."""
    code, work = folder / "check out", folder / "my work"
    work.mkdir()
    for part in PARTS:
        source = ROOT / part
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        (code / part).parent.mkdir(parents=True, exist_ok=True)
        copy(source, code / part)
    return Workflow(code, work)


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    """A fresh copy."""
    return fresh_copy(tmp_path)
