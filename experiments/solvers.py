"""Ways to weigh particles, side by side on the same images: ``experiments/solvers.yaml``."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.machine import made_by
from benchmarks.validation.common import ROOT
from cryocore.backend import get_backend
from cryocore.config.run import Config
from cryocore.config.score import Score
from cryocore.config.select import Select
from cryocore.log.columns import score_columns, table_columns
from cryocore.log.error_rate import ErrorRate
from cryocore.score import score
from cryocore.select.choose import choose
from cryocore.statistics import effective_number
from cryocore.tables.io import read_table, table_metadata, write_json
from cryocore.tables.particles import Particles
from cryocore.types import Floats
from cryocore.validate.metrics import truth_map_metrics
from experiments.cases import GRID, Case, merged, simulated
from experiments.comparisons import Run, make_map, write_no_share
from experiments.evaluate import read_truth
from experiments.runs import RUN, WORK, configuration, locked, run_workflow, shared_files

SOLVERS = GRID.with_name("solvers.yaml")
STORE = ROOT / "benchmarks" / "results" / "solvers"
WITHOUT_ALTERNATIVES = Score(n_random_poses=0, n_perturbed_poses=0, n_perturbed_shifts=0)


@dataclass(frozen=True)
class SolverSpec:
    """A way to weigh particles.

    ``select``, ``reconstruct`` : sections of a configuration, in which ``true share`` stands for that
    ``rounds`` : how often weights are made; ``truth`` : weights are the true flags instead
    """

    label: str
    select: dict[str, Any]
    reconstruct: dict[str, Any]
    rounds: int
    truth: bool


def read_specs(path: Path = SOLVERS) -> tuple[list[Case], list[SolverSpec]]:
    """The cases, and what is compared on each."""
    plan, grid = yaml.safe_load(path.read_text()), yaml.safe_load(GRID.read_text())
    common = {"kind": plan["kind"], "snr": plan["snr"], "n": plan["n"], "sets": ("solvers",)}
    settings = {"n_rounds": 1}
    cases = [
        simulated(grid, molecule=m, rate=r, variant="solvers", settings=settings, **common)
        for m in plan["molecules"]
        for r in plan["rates"]
    ]
    specs = [
        SolverSpec(
            s["label"],
            s.get("select", {}),
            s.get("reconstruct", {}),
            s.get("rounds", plan["rounds"]),
            s.get("weights") == "truth",
        )
        for s in plan["solvers"]
    ]
    return cases, specs


def compare(cases: Sequence[Case], specs: Sequence[SolverSpec], *, cores: int, store: Path = STORE) -> None:
    """Measure what is not measured yet; every case leaves one JSON file, written after each solver."""
    for case in cases:
        path = store / f"{case.name.removesuffix('-solvers')}.json"
        found = json.loads(path.read_text()) if path.exists() else {**case.factors, "solvers": {}}
        left = [spec for spec in specs if spec.label not in found["solvers"]]
        if not left:
            print(f"{case.name}: up to date", flush=True)
            continue
        with prepared(case, cores) as run, tqdm(left, desc=case.name, disable=None) as bar:
            for spec in bar:
                bar.set_postfix_str(spec.label)
                found["solvers"][spec.label] = solve(run, spec)
                made = made_by(f"python -m experiments solvers {case.name}", shared_files(case.config))
                write_json(path, found | made)
        print(f"{case.name}: done", flush=True)


@contextmanager
def prepared(case: Case, cores: int) -> Iterator[Run]:
    """A case's images, the mask of all particles, and the truth, from the workflow; gone at the end."""
    home = WORK / case.name
    home.mkdir(parents=True, exist_ok=True)
    config = configuration(case)
    results = home / "results" / RUN
    with locked(home), tempfile.TemporaryDirectory(prefix="cryocore-solvers-") as folder:
        with tqdm(desc=case.name, disable=None, leave=False) as bar:
            run_workflow(home, config, cores, bar, f"results/{RUN}/round_0/map.mrc")
        data = Particles.read(results / "particles.parquet")
        correct, _ = read_truth(results / "simulated" / "truth.parquet", data)
        true_map, backend = results / "simulated" / "true_map.mrc", get_backend(config.backend, threads=cores)
        run = Run(results, config, true_map, correct, data.column("half"), backend, Path(folder))
        replace(data, root=str((home / data.root).resolve())).write(run.particles)
        yield run
        shutil.rmtree(home, ignore_errors=True)


def solve(run: Run, spec: SolverSpec) -> dict[str, Any]:
    """Weights and map of a solver, after each of its rounds: the last one's numbers, and the course of some.

    Returns
    -------
    plain values: ``fsc_truth_area``, ``fsc_truth_resolution_angstrom`` (0.5), ``correct_weight`` (share of the weight
    on correct particles), ``n_effective`` (of both half sets, the lesser), ``cross_validation`` (see
    :func:`cross_validation`), and ``course``, the area after each round
    """
    select, reconstruct = (with_true_share(section, run) for section in (spec.select, spec.reconstruct))
    run = replace(run, config=with_reconstruct(run.config, reconstruct))
    weights = run.correct.astype(np.float64) if spec.truth else np.ones(len(run.correct))
    area = []
    for number in range(1, spec.rounds + 1):
        maps = make_map(run, weights)
        area.append(truth_map_metrics(maps, run.true_map)["fsc_truth_area"])
        columns, rate = scored(run, maps, run.folder / "subset.parquet")
        selection = choose(columns, Select(**select), number, symmetry=run.config.symmetry, rate=rate)
        weights = selection.weights.astype(np.float64)
    maps = make_map(run, weights)
    if run.config.reconstruct.method == "iterative":
        weights = iterate(run, maps)
    truth = truth_map_metrics(maps, run.true_map)
    return {
        "fsc_truth_area": truth["fsc_truth_area"],
        "fsc_truth_resolution_angstrom": truth["fsc_truth_resolution_angstrom"],
        "correct_weight": round(float(weights[run.correct].sum() / weights.sum()), 6),
        "n_effective": round(min(effective_number(weights[run.half == h]) for h in (1, 2)), 1),
        "cross_validation": cross_validation(run, maps, weights),
        "course": [*area, truth["fsc_truth_area"]],
    }


def iterate(run: Run, maps: Path) -> Floats:
    """Replace maps by those of the iterative method, and return the weights ``(n,)`` that it ends with."""
    from cryocore.reconstruct.iterative import Ranks, solve  # torch is not needed otherwise

    common: dict[str, Any] = {"symmetry": run.config.symmetry, "seed": run.config.seed, "backend": run.backend}
    mask, subset = run.results / "round_0" / "mask.mrc", run.folder / "subset.parquet"
    solve(run.particles, subset, mask, settings=run.config.reconstruct, ranks=Ranks(), out_dir=maps, **common)
    return read_table(maps / "weights.parquet", ["weight"]).column("weight").to_numpy().astype(np.float64)


def with_reconstruct(config: Config, changes: dict[str, Any]) -> Config:
    """The configuration with other settings of ``reconstruct``."""
    return Config.model_validate(merged(config.model_dump(), {"reconstruct": changes}))


def with_true_share(values: Any, run: Run) -> Any:
    """A section of a configuration with the share of correct particles in the place of ``true share``."""
    if isinstance(values, dict):
        return {name: with_true_share(value, run) for name, value in values.items()}
    return float(run.correct.mean()) if values == "true share" else values


def scored(run: Run, maps: Path, subset: Path | None) -> tuple[dict[str, NDArray[Any]], ErrorRate | None]:
    """The log of all particles against maps, as columns, and its error rate."""
    out = run.folder / "scores.parquet"
    common: dict[str, Any] = {"symmetry": run.config.symmetry, "seed": run.config.seed, "backend": run.backend}
    score(run.particles, maps, subset, settings=WITHOUT_ALTERNATIVES, round_number=0, out=out, **common)
    table = read_table(out)
    wanted = [*score_columns(table.schema), "particle_id", "half", "weight", "expected_z", "expected_zc"]
    return table_columns(table.select(list(dict.fromkeys(wanted)))), ErrorRate.of(table_metadata(table.schema))


def cross_validation(run: Run, maps: Path, weights: Floats) -> dict[str, float]:
    """Loss of each half set's particles under the other half's map, in nats per particle, lower is better.

    The loss is minus the log-likelihood ratio of the map's projection against no signal. Its mean over all particles
    is what can be known without the truth; over the correct ones, and with the solver's weights, are given beside it.
    """
    swapped = run.folder / "swapped"
    swapped.mkdir(exist_ok=True)
    for name, source in (("half1", "half2"), ("half2", "half1"), ("mask", "mask")):
        shutil.copyfile(maps / f"{source}.mrc", swapped / f"{name}.mrc")
    shutil.copyfile(maps / "fsc.parquet", swapped / "fsc.parquet")
    write_no_share(swapped / "sampling.npz", maps / "sampling.npz")
    loss = -scored(run, swapped, None)[0]["llr"].astype(np.float64)
    means = {"uniform": np.ones(len(loss)), "truth": run.correct.astype(np.float64), "weights": weights}
    return {name: round(float(np.average(loss, weights=w)), 4) for name, w in means.items()}


def measured_cases(store: Path = STORE) -> Iterator[dict[str, Any]]:
    """What was measured, in the order of molecules and rates."""
    cases, _ = read_specs()
    for case in cases:
        path = store / f"{case.name.removesuffix('-solvers')}.json"
        if path.exists():
            yield json.loads(path.read_text())
