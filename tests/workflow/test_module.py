"""The workflow as a module of another one, from a checkout and from a repository (docs/how-to/other-workflows.md)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import PARTS, ROOT, Workflow
from tests.workflow.test_run import TINY

pytestmark = pytest.mark.slow

OUTER = """
configfile: "config/config.yaml"
module cryocore:
    snakefile: "SNAKEFILE"
    config: config
    pathvars:
        results="maps/tiny",
use rule * from cryocore as cryo_*
rule summary:
    default_target: True
    input: "maps/tiny/rounds.parquet"
    output: "summary.txt"
    shell: "wc -c {input} > {output}"
"""
STAGES = {"simulate", "ingest", "reconstruct", "examine", "score", "select", "truth", "validate", "look", "report"}


def plan(work: Path, snakefile: str, package: str = "") -> subprocess.CompletedProcess[str]:
    """Dry run of a workflow in ``work`` that imports the Snakefile, with Snakemake's caches below it."""
    (work / "config").mkdir()
    (work / "config/config.yaml").write_text(str(TINY).replace("'", '"'))
    (work / "Snakefile").write_text(OUTER.replace("SNAKEFILE", snakefile))
    environment = {k: v for k, v in os.environ.items() if k not in ("SNAKEMAKE_PROFILE", "CRYOCORE_LOG")}
    environment |= {"XDG_CACHE_HOME": str(work / "cache"), "PYTHONPATH": package}
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "host", "--printshellcmds"],
        cwd=work,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def programs(text: str) -> set[str]:
    return {Path(name).name for name in re.findall(r"python -P '?([^'\n]+?/scripts/\w+)\.py", text)}


def test_module_of_a_checkout(workflow: Workflow) -> None:
    done = plan(workflow.work, str(workflow.code / "Snakefile"))
    assert done.returncode == 0, done.stdout
    assert programs(done.stdout) == STAGES
    assert f"{workflow.code}/scripts/" in done.stdout
    assert "maps/tiny/round_2/map.mrc" in done.stdout
    assert "logs/tiny/select/round_1.log" in done.stdout


def test_module_of_a_repository(tmp_path: Path) -> None:
    """Snakemake fetches rules and scripts one by one; the package is the one that is installed."""
    repository, work = tmp_path / "repository", tmp_path / "work"
    work.mkdir()
    for part in {*PARTS, "workflow"} - {"cryocore", "Snakefile"}:
        source = ROOT / part
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        (repository / part).parent.mkdir(parents=True, exist_ok=True)
        copy(source, repository / part)
    git = ("git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@t")
    for command in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "all"), ("tag", "v1")):
        subprocess.run([*git, *command], check=True, capture_output=True)
    done = plan(work, f"git+file://{repository}/workflow/Snakefile@v1", package=str(ROOT))
    assert done.returncode == 0, done.stdout
    assert programs(done.stdout) == STAGES
    assert f"{work}/cache/" in done.stdout


@pytest.mark.parametrize("name", [".snakemake-workflow-catalog.yml", "config/README.md", "config/config.yaml"])
def test_files_of_the_catalog_are_there(name: str) -> None:
    assert (ROOT / name).is_file()
