"""What reruns when (docs/explanation/workflow.md): edit one thing, and compare the jobs with the expected ones."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from cryocore.config.rules import RULES
from cryocore.config.run import Config
from tests.workflow.conftest import Workflow, fresh_copy

pytestmark = pytest.mark.slow

N = 4
BASE: dict[str, Any] = {"n_rounds": N, "select": {"rule": "fraction"}}
ROUND_FILES = {
    "reconstructing": ("half1.mrc", "half2.mrc", "map.mrc", "mask.mrc", "fsc.parquet", "sampling.npz", "sums.npz"),
    "validating": ("metrics.json",),
}
REPORT = {"Writing the report"}
SHOWN = {"Looking at what is left out"} | REPORT
"""What follows from the last round."""
EXAMINED = {"Examining the data set"}
CACHE = {"Keeping transforms of the images"}
FRACTIONS = RULES["fraction"].values.default


def rounds(first: int, last: int = N, *, start: str = "selecting") -> set[str]:
    """Jobs of the rounds ``first`` to ``last``; in the first one only those from ``start`` on."""
    order = ["selecting", "reconstructing", "scoring", "validating"]
    jobs = {f"Round {r}: {stage}" for r in range(first, last + 1) for stage in order if r > 0 or stage != order[0]}
    return jobs - {f"Round {first}: {stage}" for stage in order[: order.index(start)]}


TRUTH = {"Checking the truth"}
SIMULATED = {"Simulating particles", "Reading results/demo/simulated/particles.star"} | TRUTH
EVERYTHING = SIMULATED | EXAMINED | rounds(0) | SHOWN
DEMO = SIMULATED | EXAMINED | rounds(0, Config().n_rounds) | SHOWN


def results(workflow: Workflow, n_rounds: int = N) -> None:
    """Make every file of a finished run, and let Snakemake believe that it made them."""
    run = workflow.work / "results" / "demo"
    names = [f"simulated/{n}" for n in ("particles.star", "particles.mrcs", "truth.parquet", "true_map.mrc")]
    names += [
        "particles.parquet",
        "truth.parquet",
        "examine.json",
        "duplicates.parquet",
        "rounds.parquet",
        "rounds.txt",
        "report.html",
        "figures/fsc.svg",
        "left_out/left_out.json",
        "recommended.star",
    ]
    for r in range(n_rounds + 1):
        names += [f"round_{r}/{name}" for name in (*ROUND_FILES["reconstructing"], *ROUND_FILES["validating"])]
        names += [f"log/round={r}/log.parquet"]
        names += [f"round_{r}/subset.{kind}" for kind in ("parquet", "star")] if r else []
    for name in names:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    workflow.snakemake("--touch", "--forceall", "--configfile", workflow.configure(**BASE))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, made once and copied for every case."""
    path = tmp_path_factory.mktemp("finished")
    results(fresh_copy(path))
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Workflow:
    """A copy of the finished run that keeps all file times."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return Workflow(tmp_path / "check out", tmp_path / "my work")


def test_a_fresh_start_lists_every_job(workflow: Workflow) -> None:
    assert workflow.jobs() == DEMO


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, set(), id="nothing"),
        pytest.param({"backend": "cpu"}, set(), id="backend"),
        pytest.param(
            {"select": {"value": [*FRACTIONS[:2], 0.71, FRACTIONS[3]]}}, rounds(3) | SHOWN, id="fraction of round 3"
        ),
        pytest.param({"select": {"value": [*FRACTIONS[:3]]}}, rounds(4) | SHOWN, id="last fraction dropped"),
        pytest.param({"select": {"value": [*FRACTIONS, FRACTIONS[-1]]}}, REPORT, id="last fraction repeated"),
        pytest.param({"select": {"rule": "soft"}}, rounds(1) | {"Round 0: validating"} | SHOWN, id="another rule"),
        pytest.param({"n_rounds": N + 1}, rounds(N + 1, N + 1) | SHOWN, id="one round more"),
        pytest.param({"n_rounds": N - 1}, SHOWN, id="one round less"),
        pytest.param({"select": {"score": "z"}}, rounds(1) | {"Round 0: validating"} | SHOWN, id="score that selects"),
        pytest.param({"score": {"n_perturbed_poses": 0}}, rounds(0, start="scoring") | SHOWN, id="score settings"),
        pytest.param({"reconstruct": {"padding": 1}}, EXAMINED | rounds(0) | SHOWN, id="reconstruct settings"),
        pytest.param({"input": {"simulate": {"snr": 0.03}}}, EVERYTHING, id="simulate settings"),
    ],
)
def test_settings(run: Workflow, changes: dict[str, Any], expected: set[str]) -> None:
    select = {**BASE["select"], **changes.get("select", {})}
    assert run.jobs("--configfile", run.configure(**{**BASE, **changes, "select": select})) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["cryocore/validate/__init__.py"], {f"Round {r}: validating" for r in range(N + 1)} | REPORT),
        (["cryocore/report/page.css", "cryocore/config/run.py", "cryocore/config/solve.py"], REPORT),
        (["cryocore/examine/__init__.py"], EXAMINED | REPORT),
        (["cryocore/select/__init__.py"], rounds(1) | SHOWN),
        (["scripts/select.py"], rounds(1) | SHOWN),
        (["cryocore/backend/kernels/score.cu"], rounds(0, start="scoring") | SHOWN),
        (["cryocore/backend/kernels/host/insert_binned.cpp"], EXAMINED | rounds(0) | SHOWN),
        (["cryocore/config/simulate.py"], EVERYTHING),
        (
            [
                "cryocore/workflow/settings.py",
                "cryocore/reconstruct/iterative/losses.py",
                "cryocore/backend/kernels/residual.cu",
            ],
            set(),
        ),
    ],
)
def test_code(run: Workflow, files: list[str], expected: set[str]) -> None:
    """tests/workflow/test_reruns.py has the table of stages; Snakemake follows it."""
    for file in files:
        run.edit(file)
    assert run.jobs("--configfile", "my.yaml") == expected


def test_times_by_clocks_that_differ_rerun_the_report_at_most(run: Workflow) -> None:
    """Contents count; of a folder, as that of the pictures, there is the time alone."""
    clock = random.Random(0)
    for path in sorted((run.work / "results").rglob("*")):
        if path.is_file():
            time = path.stat().st_mtime + clock.uniform(-60, 60)
            os.utime(path, (time, time))
    given = ["--configfile", "my.yaml"]
    assert run.jobs(*given) <= REPORT
    assert len(run.jobs(*given, "--max-checksum-file-size", "1B")) > N


def test_what_computes_the_same_reruns_nothing(run: Workflow) -> None:
    """Comments, a docstring, a text of a setting, a comment in a kernel, another release, a machine's profile."""
    for file in (
        "cryocore/tables/particles.py",
        "cryocore/score/sums.py",
        "scripts/select.py",
        "profiles/default/config.yaml",
    ):
        run.edit(file, "\n# a comment\n")
    run.edit("cryocore/backend/kernels/shared/machine.cuh", "\n// a comment\n")
    for file, old, new in (
        ("cryocore/config/score.py", "resolution bands in the log", "bands of the log"),
        ("cryocore/imaging/slices.py", "central slices", "slices"),
        ("cryocore/__init__.py", '__version__ = "', '__version__ = "9.'),
    ):
        text = (run.code / file).read_text()
        assert old in text
        (run.code / file).write_text(text.replace(old, new))
    assert run.jobs("--configfile", "my.yaml") == set()


def test_reason_names_the_edited_file(run: Workflow) -> None:
    run.edit("cryocore/select/__init__.py")
    text = run.snakemake("-n", "--configfile", "my.yaml", "--quiet", "host").stdout
    reason = next(line for line in text.splitlines() if "Params have changed" in line)
    assert reason.count("cryocore/select/__init__.py") == 2
    assert "cryocore/config/run.py" not in reason


def test_touched_files_rerun_nothing(run: Workflow) -> None:
    for path in [*run.code.rglob("*.py"), *run.code.rglob("*.cu"), *(run.work / "results").rglob("*")]:
        if path.name in ("particles.star", "log.parquet", "particles.parquet") or run.code in path.parents:
            os.utime(path)
    assert run.jobs("--configfile", "my.yaml") == set()


def test_lost_log_is_written_again(run: Workflow) -> None:
    (run.work / "results/demo/log/round=2/log.parquet").unlink()
    assert run.jobs("--configfile", "my.yaml") == {"Round 2: scoring"} | rounds(3) | {"Round 2: validating"} | SHOWN


def test_a_cache_is_made_if_asked_for_and_every_round_reads_it(run: Workflow) -> None:
    name = run.configure(**BASE, input={"cache": True, "plant": {"wrong_pose": 0.3}})
    assert run.jobs("--configfile", name) == CACHE | EXAMINED | rounds(0) | SHOWN
    text = run.snakemake("-n", "--printshellcmds", "--configfile", name).stdout
    commands = [line for line in text.splitlines() if line.startswith("Shell command:")]
    reading = [c for c in commands if "--cache results/demo/cache/transforms.npz" in c]
    assert len(reading) == 2 * (N + 1)
    assert all("reconstruct.py" in c or "score.py" in c for c in reading)


def test_a_referee_is_asked_last_if_at_all(run: Workflow) -> None:
    """And an answer changes nothing of the run."""
    name = run.configure(**BASE, audit=True)
    assert run.jobs("--configfile", name) == {"Auditing the recommended list"}
    text = run.snakemake("-n", "--printshellcmds", "--configfile", name).stdout
    (command,) = (line for line in text.splitlines() if line.startswith("Shell command:") and ".py" in line)
    assert "audit.py' results/demo " in command and "--settings" not in command and "--backend" in command


def test_poses_are_refined_last_if_at_all(run: Workflow) -> None:
    """And that changes nothing of the run."""
    name = run.configure(**BASE, refine={"enabled": True})
    both = {f"Refining poses anew: {which}" for which in ("all", "recommended")}
    assert run.jobs("--configfile", name) == {*both, "Comparing the refined maps"}
    text = run.snakemake("-n", "--printshellcmds", "--configfile", name).stdout
    commands = [line for line in text.splitlines() if line.startswith("Shell command:") and ".py" in line]
    assert sum("refine.py' results/demo all results/demo/refine/all --threads" in c for c in commands) == 1
    assert sum("refined.py' results/demo/refine/all results/demo/refine/recommended --out" in c for c in commands) == 1


def test_a_robust_loss_replaces_the_direct_inversion(run: Workflow) -> None:
    robust = {"method": "iterative", "iterative": {"processes": 2}}
    name = run.configure(**BASE, reconstruct=robust)
    assert run.jobs("--configfile", name) == EXAMINED | rounds(0) | SHOWN
    text = run.snakemake("-n", "--printshellcmds", "--configfile", name).stdout
    commands = [line for line in text.splitlines() if line.startswith("Shell command:")]
    solving = [c for c in commands if "solve.py" in c]
    assert len(solving) == N + 1
    assert all("torch.distributed.run --standalone --nproc-per-node 2" in c for c in solving)
    assert not any("reconstruct.py" in c or "--previous-sums" in c for c in commands)
    assert sum("--subset results/demo/round_0/weights.parquet" in c for c in commands if "score.py" in c) == 1
    assert sum("--batches" in c for c in commands if "validate.py" in c) == N + 1


def test_a_classifier_comes_between_scores_and_selection(run: Workflow) -> None:
    classifying = {f"Round {r}: classifying" for r in range(N + 1)}
    chosen = {**BASE, "select": {"rule": "probability"}}
    name = run.configure(**chosen, classify={"model": "logistic"})
    expected = classifying | rounds(1) | {"Round 0: validating"} | SHOWN
    assert run.jobs("--configfile", name) == expected
    text = run.snakemake("-n", "--printshellcmds", "--configfile", name).stdout
    commands = [line for line in text.splitlines() if line.startswith("Shell command:")]
    assert all("--probability results/demo/round_" in c for c in commands if "select.py" in c or "validate.py" in c)

    (run.work / "my model").mkdir()
    (run.work / "my model" / "model.json").write_text("{}")
    name = run.configure(**chosen, classify={"model": "my model"})
    text = run.snakemake("-n", "--printshellcmds", "--configfile", name).stdout
    assert text.count("--model 'my model'") == N + 1
    name = run.configure(**chosen, classify={"model": "elsewhere"})
    assert "classify.model: elsewhere is none of" in run.snakemake("-n", "--configfile", name, check=False).stdout


def test_a_classifier_learns_again_where_its_start_is_another_network(run: Workflow) -> None:
    name = run.configure(**BASE, classify={"model": "cnn", "start": "theirs"})
    refused = run.snakemake("-n", "--configfile", name, check=False).stdout
    assert "theirs/network.pt: the configuration names this file, and it does not exist" in refused
    network = run.work / "theirs" / "network.pt"
    network.parent.mkdir()
    network.write_text("weights")
    for r in range(N + 1):
        made = run.work / "results" / "demo" / f"round_{r}"
        (made / "classifier").mkdir()
        (made / "probability.parquet").write_text("probabilities")
    run.snakemake("--touch", "--forceall", "--configfile", name)
    assert run.jobs("--configfile", name) == set()
    later = network.stat().st_mtime + 60
    os.utime(network, (later, later))
    assert run.jobs("--configfile", name) == set()
    network.write_text("other weights")
    os.utime(network, (later, later))
    assert run.jobs("--configfile", name) >= {f"Round {r}: classifying" for r in range(N + 1)}


STAR = {"star": "my particles.star"}


@pytest.mark.parametrize(
    ("settings", "first", "truth"),
    [
        (STAR, {"Reading my particles.star"}, ""),
        (
            {**STAR, "truth": "truth.parquet"},
            {"Reading my particles.star"},
            " truth.parquet results/mine/truth.parquet",
        ),
        (
            {**STAR, "plant": {"wrong_pose": 0.2}},
            {"Planting errors into my particles.star", "Reading results/mine/planted/particles.star"},
            " results/mine/planted/truth.parquet results/mine/truth.parquet",
        ),
    ],
)
def test_own_particles(workflow: Workflow, settings: dict[str, Any], first: set[str], truth: str) -> None:
    for name in ("my particles.star", "truth.parquet"):
        (workflow.work / name).touch()
    name = workflow.configure(run="mine", n_rounds=1, symmetry="C1", input=settings)
    known = TRUTH if truth else set()
    assert workflow.jobs("--configfile", name) == first | known | EXAMINED | rounds(0, 1) | SHOWN
    text = workflow.snakemake("-n", "--printshellcmds", "--configfile", name).stdout
    commands = [line for line in text.splitlines() if line.startswith("Shell command:")]
    assert {("--truth" in c) for c in commands if "validate.py" in c} == {bool(truth)}
    assert all(truth in c for c in commands if "truth.py" in c)
    readers = ("plant.py", "truth.py", "validate.py", "report.py")
    assert not any("truth" in c for c in commands if not any(name in c for name in readers))


def test_several_files_are_joined_first(workflow: Workflow) -> None:
    for name in ("a b.star", "c.cs"):
        (workflow.work / name).touch()
    given = {"star": ["a b.star", "c.cs"], "class": 2, "root": "images"}
    name = workflow.configure(run="mine", n_rounds=1, symmetry="C1", input=given)
    first = {"Joining a b.star c.cs", "Reading results/mine/joined/particles.star"}
    assert workflow.jobs("--configfile", name) == first | EXAMINED | rounds(0, 1) | SHOWN
    text = workflow.snakemake("-n", "--printshellcmds", "--configfile", name).stdout
    joins, reads = (next(c for c in text.splitlines() if f"{s}.py" in c) for s in ("join", "ingest"))
    assert "results/mine/joined/particles.star 'a b.star' c.cs" in joins and '"class_number": 2' in joins
    assert '"class_number": null' in reads and '"root": null' in reads
    name = workflow.configure(run="mine", n_rounds=1, symmetry="C1", input={**given, "plant": {"wrong_pose": 0.1}})
    planted = {"Planting errors into results/mine/joined/particles.star"}
    read = {"Reading results/mine/planted/particles.star"}
    jobs = workflow.jobs("--configfile", name)
    assert jobs == {"Joining a b.star c.cs"} | planted | read | TRUTH | EXAMINED | rounds(0, 1) | SHOWN
    (workflow.work / "c.cs").unlink()
    done = workflow.snakemake("-n", "--configfile", name, check=False)
    assert "c.cs: the configuration names this file, and it does not exist" in done.stdout


def test_selections_are_in_the_format_of_the_particles(workflow: Workflow) -> None:
    for name in ("J1_particles.cs", "other.cs"):
        (workflow.work / name).touch()
    given = {"star": "J1_particles.cs", "passthrough": "other.cs"}
    name = workflow.configure(run="mine", n_rounds=1, symmetry="C1", input=given)
    text = workflow.snakemake("-n", "--printshellcmds", "--configfile", name).stdout
    assert "results/mine/round_1/subset.cs" in text and "results/mine/recommended.cs" in text
    assert ".star" not in "".join(line for line in text.splitlines() if "Shell command:" in line)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_rouds": 3}, "there is no key n_rouds (did you mean n_rounds?)"),
        ({"symmetry": "C1", "input": {"star": "nowhere.star"}}, "nowhere.star: the configuration names this file"),
        ({"input": STAR}, "say which point group"),
        ({"symmetry": "C1", "input": {"star": "{x}.star"}}, "Rename or link the file"),
    ],
)
def test_wrong_configuration_is_one_message(workflow: Workflow, settings: dict[str, Any], message: str) -> None:
    done = workflow.snakemake("-n", "--configfile", workflow.configure(**settings), check=False)
    assert done.returncode == 1
    assert message in done.stdout
    assert "Traceback" not in done.stdout


def test_slurm_profile_plans_the_same_jobs(workflow: Workflow) -> None:
    assert workflow.jobs("--workflow-profile", "slurm") == DEMO


def test_drawings(workflow: Workflow) -> None:
    assert workflow.snakemake("--rulegraph").stdout.count("label") == 11
    drawing = workflow.snakemake("--dag").stdout
    assert drawing.count("label") == len(DEMO) + 1
    assert "code" not in drawing


def in_shards(jobs: set[str], count: int) -> set[str]:
    """The same rounds where the data set is cut into parts."""
    parts = [f"shard {s}" for s in range(count)]
    found: set[str] = set()
    for job in jobs:
        name, _, stage = job.partition(": ")
        if stage == "reconstructing":
            found |= {job, *(f"{name}: summing, {part}" for part in parts)}
        elif stage == "scoring":
            found |= {f"{name}: estimating the noise", f"{name}: gathering the scores"}
            found |= {f"{job}, {part}" for part in parts}
        else:
            found.add(job)
    return found


def test_shards_are_jobs_of_their_own_and_leave_the_particles_as_they_are(run: Workflow) -> None:
    assert run.jobs("--configfile", run.configure(**BASE, n_shards=3)) == in_shards(EXAMINED | rounds(0) | SHOWN, 3)
    name = run.configure(**BASE, n_shards=2, reconstruct={"method": "iterative"})
    apart = in_shards(rounds(0), 2)
    assert run.jobs("--configfile", name) == {job for job in apart if "summing" not in job} | EXAMINED | SHOWN


def test_ten_million_particles_are_planned_at_once(workflow: Workflow) -> None:
    simulate = {"n_particles": 10_000_000, "box": 256, "n_micrographs": 20_000}
    name = workflow.configure(**BASE, n_shards=100, input={"simulate": simulate})
    text = workflow.snakemake("-n", "--quiet", "rules", "--configfile", name).stdout
    counts = {
        words[0]: int(words[1]) for line in text.splitlines() if len(words := line.split()) == 2 and words[1].isdigit()
    }
    assert counts["sum"] == counts["score"] == 100 * (N + 1)
    assert counts["total"] == 2 * 100 * (N + 1) + 4 * (N + 1) + N + 7
