"""The stages as verbs: the same bytes as the workflow's rules write with the same configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from typer import Typer
from typer.testing import CliRunner

from cryocore.commands.app import app
from cryocore.commands.stage_verbs import _named
from cryocore.config.file import read_config
from cryocore.config.run import Config
from cryocore.errors import InputError
from cryocore.formats.roots import without_record
from cryocore.tables.io import as_numpy, read_table
from cryocore.workflow.settings import stage_settings
from tests.runs import SyntheticRun
from tests.score.simulated import SIMULATION

ROOT = Path(__file__).resolve().parents[2]
RUN = {
    "run": "small",
    "symmetry": "C1",
    "seed": 3,
    "backend": "cpu",
    "input": {"simulate": {**SIMULATION, "n_particles": 200}, "plant": {"wrong_pose": 0.3}},
    "score": {"n_random_poses": 3, "n_perturbed_poses": 2, "n_perturbed_shifts": 2},
    "select": {"rule": "fraction", "score": "z", "value": [0.9, 0.6], "minimum": 10},
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(RUN))
    return path


def verb(*arguments: object) -> Any:
    """What a verb answers with ``--json``."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout)


def rule(stage: str, config: Path, *arguments: object, number: int = 0) -> None:
    """Run the command line of a rule, with the settings that the rule gives it."""
    program = Typer()
    program.command()(getattr(import_module(f"cryocore.commands.stages.{stage}"), stage))
    settings = json.dumps(stage_settings(read_config(config), stage, number))
    done = CliRunner().invoke(program, [*map(str, arguments), "--settings", settings], catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (0, "")


@pytest.mark.slow
def test_verbs_write_what_the_rules_write(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("verbs", "rules"):
        (tmp_path / folder).mkdir()
    names = ("p.parquet", "log.parquet", "w.parquet", "kept.star", "m.json", "round_0", "round_1", "made")
    table, scores, subset, kept, metrics, first, second, made = map(Path, names)
    star, truth, mask = made / "particles.star", made / "truth.parquet", first / "mask.mrc"

    monkeypatch.chdir(tmp_path / "rules")
    cpu = ("--backend", "cpu", "--threads", 2)
    rule("simulate", config, made, *cpu)
    rule("ingest", config, star, table)
    rule("reconstruct", config, table, first, *cpu)
    rule("score", config, table, first, scores, *cpu)
    rule("select", config, table, scores, subset, kept, number=1)
    files = ("--subset", subset, "--mask", mask, "--previous-sums", first / "sums.npz")
    rule("reconstruct", config, table, second, *files, *cpu, number=1)
    rule("validate", config, scores, first, metrics, "--truth", truth)

    monkeypatch.chdir(tmp_path / "verbs")
    with_config = ("--config", config)
    assert verb("simulate", made, *with_config)["n_particles"] == 200
    ingested = verb("ingest", star, table, *with_config)
    assert ingested["n_half1"] + ingested["n_half2"] == ingested["n_particles"] == 200
    coarse = verb("reconstruct", table, first, *with_config)["resolution_angstrom"]
    assert verb("score", table, first, scores, *with_config)["n_particles"] == 200
    # the first of the fractions is that of round 1
    assert verb("select", table, scores, subset, kept, *with_config, "--round", 1)["n_kept"] == 180
    fine = verb("reconstruct", table, second, *with_config, *files)["resolution_angstrom"]
    assert 5 < fine < 50 and 5 < coarse < 50
    found = verb("validate", scores, first, metrics, *with_config, "--truth", truth)
    assert found == json.loads(metrics.read_text()) and found["correct_rate"] == pytest.approx(0.7, abs=0.05)

    written = {p.relative_to(tmp_path / "rules") for p in (tmp_path / "rules").rglob("*") if p.is_file()}
    assert len(written) > 20
    assert written == {p.relative_to(tmp_path / "verbs") for p in (tmp_path / "verbs").rglob("*") if p.is_file()}

    def content(folder: str, file: Path) -> bytes:
        found = (tmp_path / folder / file).read_bytes()
        return without_record(found) if file == kept else found  # it says where it lies

    assert [str(p) for p in written if content("rules", p) != content("verbs", p)] == []


def test_reconstruction_by_iteration(config: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    made = {**RUN["input"]["simulate"], "n_particles": 40, "box": 24}
    iterative = {"method": "iterative", "iterative": {"n_epochs": 1}}
    config.write_text(yaml.safe_dump({**RUN, "input": {"simulate": made}, "reconstruct": iterative}))
    table, out = tmp_path / "p.parquet", tmp_path / "round_0"
    verb("simulate", tmp_path, "-c", config)
    verb("ingest", tmp_path / "particles.star", table, "-c", config)
    assert verb("reconstruct", table, out, "-c", config, "--threads", 1)["resolution_angstrom"] > 5
    assert (out / "weights.parquet").exists() and (out / "epochs.parquet").exists()


@pytest.mark.slow
def test_verbs_of_parts_and_of_what_is_around_them(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    of_run = ("--config", config)
    verb("simulate", "made", *of_run)
    verb("ingest", "made/particles.star", "p.parquet", *of_run)
    for s in (0, 1):
        part = ("--shard", f"{s}/2", *of_run)
        assert verb("cache", "p.parquet", f"t_{s}.npz", *part) == {"files": [f"t_{s}.npz"]}
        assert verb("sum", "p.parquet", f"sums_{s}.npz", "--cache", f"t_{s}.npz", *part)["files"] == [f"sums_{s}.npz"]
    verb("reconstruct", "p.parquet", "round_0", "--sums", "sums_0.npz", "--sums", "sums_1.npz", *of_run)
    assert verb("noise", "p.parquet", "round_0", "n.npz", *of_run) == {"files": ["n.npz"]}
    for s in (0, 1):
        files = ("p.parquet", "round_0", f"s_{s}.parquet", "--noise", "n.npz", "--shard", f"{s}/2")
        assert verb("score", *files, *of_run)["n_particles"] == 100
    scored = "log/round=0/log.parquet"
    assert verb("gather", "p.parquet", scored, "s_0.parquet", "s_1.parquet", *of_run) == {"files": [scored]}
    assert read_table(scored, ["mixture"]).num_rows == 200
    assert verb("truth", "p.parquet", "made/truth.parquet", "truth.parquet") == {"files": ["truth.parquet"]}
    verb("validate", scored, "round_0", "round_0/metrics.json", "--truth", "truth.parquet", *of_run)

    outs = ("rounds.parquet", "report.html", "figures", "recommended.star", "maps.cxc")
    found = verb("report", ".", "made/particles.star", *outs, *of_run)
    assert found == {"files": [*outs]}
    assert all(Path(name).exists() for name in outs)

    files = ("p.parquet", scored, "round_0", "classified.parquet", "classifier")
    with pytest.raises(InputError, match=r"my\.yaml, setting classify\.model: none means that there is no classifier"):
        verb("classify", *files, *of_run)

    config.write_text(yaml.safe_dump({**RUN, "input": {"star": "made/particles.star", "plant": {"wrong_pose": 0.25}}}))
    assert verb("plant", "made/particles.star", "planted", *of_run) == {"files": ["planted"]}
    assert as_numpy(read_table("planted/truth.parquet", ["is_correct"]).column(0)).sum() == 150


def test_rules_hand_over_every_file_that_a_stage_takes() -> None:
    """A rule's inputs are options of its stage by their names: none of the options is left without, but those that it
    writes, which its command names."""
    named: dict[str, set[str]] = {}
    for file in sorted((ROOT / "rules").glob("*.smk")):
        for rule in file.read_text().split("\nrule ")[1:]:
            inputs = re.search(r"    input:\n((?:        .*\n)+)", rule)
            for stage in re.findall(r"program\(\"(\w+)\"", rule):
                named.setdefault(stage, set()).update(re.findall(r"^        (\w+)=", inputs[1], re.MULTILINE))
                named[stage].update(re.findall(r" --(\w+) \{output", rule))
    stages = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    assert set(named) == stages
    for stage in stages:
        parameters = get_type_hints(getattr(import_module(f"cryocore.commands.stages.{stage}"), stage))
        files = {name for name, kind in parameters.items() if kind in (Path | None, list[Path] | None)}
        # the model is a folder, of which the rule names a file; a region is for audits without the workflow
        assert files <= named[stage] | {"model"} | ({"region"} if stage == "audit" else set()), stage


def test_validate_takes_the_true_map_that_the_configuration_names(
    config: Path, tmp_path: Path, make_run: Callable[..., SyntheticRun]
) -> None:
    made = make_run(tmp_path, n=100, n_rounds=0)
    real = {"star": "run_data.star", "true_map": str(made.true_map)}
    for values, is_known in (({"star": "run_data.star"}, False), (real, True)):
        config.write_text(yaml.safe_dump({"symmetry": "C1", "input": values, "select": {"rule": "fraction"}}))
        out = tmp_path / "metrics.json"
        found = verb("validate", made.log(0), made.folder / "round_0", out, "--config", config)
        assert (found["fsc_truth_area"] is not None) == is_known


def test_faults_are_named(config: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    config.write_text("symmetri: C1\n")
    error = runner.invoke(app, ["ingest", "a.star", "b.parquet", "--config", str(config)]).exception
    assert isinstance(error, InputError) and "symmetri" in str(error)
    assert runner.invoke(app, ["ingest", "a.star", "b.parquet"]).exit_code == 2


def test_a_check_tells_files_that_are_not_there(tmp_path: Path) -> None:
    names = {"star": "a.star", "root": str(tmp_path)}
    given = tmp_path / "given.yaml"
    given.write_text(
        yaml.safe_dump({"run": "a", "symmetry": "C1", "input": names, "reconstruct": {"mask": "mask.mrc"}})
    )
    said = CliRunner().invoke(app, ["check", str(given)], catch_exceptions=False).stdout.splitlines()
    assert [line.split(" is not there")[0] for line in said[1:]] == ["input.star: a.star", "reconstruct.mask: mask.mrc"]


def test_the_region_of_a_configuration_is_the_mask_of_its_maps() -> None:
    region = Config.model_validate({"run": "a", "score": {"region": "part.mrc"}})
    assert _named(region)["mask"] == Path("part.mrc")
