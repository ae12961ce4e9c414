"""Runs of the whole workflow, in a temporary directory."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks.validation.common import ROOT, run
from cryocore.cores import available_cores

KEPT = ("round", "n_kept", "resolution_angstrom", "correct_rate", "auc", "aucs", "fsc_truth_area", "error_kinds")


def run_workflow(folder: Path, **config: Any) -> Path:
    """Run Snakemake with a configuration; the results lie in the folder that is returned."""
    run(*prepare_workflow(folder, **config), cwd=folder)
    return folder / "results" / "run"


def prepare_workflow(folder: Path, **config: Any) -> list[str]:
    """Write a configuration into a new folder; the command that runs Snakemake there."""
    folder.mkdir()
    (folder / "my.yaml").write_text(yaml.safe_dump({"run": "run", **config}))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--no-hooks"]
    return [*command, "--cores", str(available_cores()), "--configfile", "my.yaml"]


def rounds_of(results: Path, n_rounds: int) -> list[dict[str, Any]]:
    """The numbers of every round, from its ``metrics.json``."""
    metrics = [json.loads((results / f"round_{r}" / "metrics.json").read_text()) for r in range(n_rounds + 1)]
    return [{key: values.get(key) for key in KEPT} for values in metrics]
