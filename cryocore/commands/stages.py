"""The stages of a run one by one: ``cryocore simulate, ingest, reconstruct, score, select, validate``.

Each is what the workflow's rule of that name runs, with the settings that the rule takes from the same configuration.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryocore.commands.output import AsJson, answer

if TYPE_CHECKING:
    from cryocore.config import Config
    from cryocore.workflow import Stage

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="The run's configuration, .yaml.", metavar="YAML", show_default=False)
]
Backend = Annotated[str, typer.Option(help="auto, cpu or cuda; default: the configuration's.", show_default=False)]
Threads = Annotated[int, typer.Option(help="Of the CPU.", min=1)]
ParticleTable = Annotated[Path, typer.Argument(help="What ingest wrote, .parquet.", metavar="PARTICLES")]
ScoreTable = Annotated[Path, typer.Argument(help="What score wrote, .parquet.", metavar="SCORES")]
RoundFolder = Annotated[Path, typer.Argument(help="What reconstruct wrote.", metavar="ROUND_DIR")]
Subset = Annotated[Path | None, typer.Option(help="What select wrote, .parquet; default: all particles.")]
Cache = Annotated[Path | None, typer.Option(help="A run's cache/transforms.npz, to read instead of the images.")]


def simulate(
    out_dir: Annotated[Path, typer.Argument(help="Folder to write to.", metavar="OUT_DIR")],
    config: ConfigFile,
    backend: Backend = "",
    threads: Threads = 2,
    as_json: AsJson = False,
) -> None:
    """Make a synthetic data set with planted errors, and the truth about it.

    Writes particles.star, particles.mrcs, truth.parquet and true_map.mrc; `input.simulate` and `input.plant` of the
    configuration say of what kind.

    **Examples**

    `cryocore simulate simulated --config my.yaml`
    """
    from cryocore.ingest.simulate import simulate as run
    from cryocore.settings.plant import PlantedErrors
    from cryocore.settings.simulate import Simulate

    run_config, v = _settings(config, "simulate")
    made, errors = Simulate.model_validate(v.pop("simulate")), PlantedErrors.model_validate(v.pop("plant"))
    run(made, errors, **v, out_dir=out_dir, backend=_engine(run_config, backend, threads))
    names = ("particles.star", "particles.mrcs", "truth.parquet", "true_map.mrc")
    value = {"n_particles": made.n_particles, "files": [str(out_dir / name) for name in names]}
    answer(f"{made.n_particles:,} particles in {out_dir / names[0]}", value, as_json)


def ingest(
    source: Annotated[Path, typer.Argument(help="Refined particles: .star, .cs or .thu.", metavar="SOURCE")],
    particles: Annotated[Path, typer.Argument(help="Table to write, .parquet.", metavar="PARTICLES")],
    config: ConfigFile,
    as_json: AsJson = False,
) -> None:
    """Check every particle of a file and write the particle table.

    **Examples**

    `cryocore ingest run_data.star particles.parquet --config my.yaml`
    """
    from cryocore.ingest.particles import ingest as run

    data = run(source, **_settings(config, "ingest")[1])
    data.write(particles)
    half = data.column("half")
    value = {
        "particles": str(particles),
        "n_particles": len(data),
        "n_half1": int((half == 1).sum()),
        "n_half2": int((half == 2).sum()),
        "n_optics_groups": len(data.optics),
    }
    answer(f"{len(data):,} particles, {value['n_half1']:,} of them in half set 1, in {particles}", value, as_json)


def reconstruct(
    particles: ParticleTable,
    out_dir: Annotated[Path, typer.Argument(help="Folder to write to.", metavar="ROUND_DIR")],
    config: ConfigFile,
    subset: Subset = None,
    mask: Annotated[
        Path | None, typer.Option(help=".mrc; the workflow gives that of round 0; default: the configuration's.")
    ] = None,
    previous_sums: Annotated[
        Path | None, typer.Option("--previous-sums", help="sums.npz of the round before, to be changed.")
    ] = None,
    cache: Cache = None,
    backend: Backend = "",
    threads: Threads = 2,
    as_json: AsJson = False,
) -> None:
    """Write the half maps of a selection, their FSC, the merged map and the mask.

    By inversion, or by minimising a robust loss, as `reconstruct.method` says.

    **Examples**

    `cryocore reconstruct particles.parquet round_0 --config my.yaml`

    `cryocore reconstruct particles.parquet round_1 -c my.yaml --subset subset.parquet --mask round_0/mask.mrc`
    """
    from cryocore.data import FscCurves
    from cryocore.maps.fsc import resolution_at
    from cryocore.settings.reconstruct import Reconstruct
    from cryocore.settings.solve import Solve

    run_config, v = _settings(config, "reconstruct")
    if mask is None and run_config.reconstruct.mask is not None:
        mask = Path(run_config.reconstruct.mask)
    values, engine = v.pop("reconstruct"), _engine(run_config, backend, threads)
    how: dict[str, Any] = {**v, "backend": engine, "out_dir": out_dir, "cache": cache}
    if run_config.reconstruct.method == "iterative":
        from cryocore.solve import solve, started_ranks

        with started_ranks(threads) as ranks:
            solve(particles, subset, mask, settings=Solve.model_validate(values), ranks=ranks, **how)
    else:
        from cryocore.reconstruct import reconstruct as run

        run(particles, subset, mask, settings=Reconstruct.model_validate(values), previous_sums=previous_sums, **how)
    curves = FscCurves.read(out_dir / "fsc.parquet")
    resolution = resolution_at(curves.corrected, curves.resolution_angstrom, 0.143)
    names = ("half1.mrc", "half2.mrc", "map.mrc", "mask.mrc", "fsc.parquet", "sampling.npz")
    value = {"resolution_angstrom": resolution, "files": [str(out_dir / name) for name in names]}
    answer(f"{resolution:.2f} Å at FSC 0.143; {', '.join(names)} in {out_dir}", value, as_json)


def score(
    particles: ParticleTable,
    round_dir: RoundFolder,
    scores: Annotated[Path, typer.Argument(help="Table to write, .parquet.", metavar="SCORES")],
    config: ConfigFile,
    number: Annotated[int, typer.Option("--round", help="Number of the round.", min=0)] = 0,
    subset: Subset = None,
    cache: Cache = None,
    backend: Backend = "",
    threads: Threads = 2,
    as_json: AsJson = False,
) -> None:
    """Compare every particle with the map of its half set, without its own share in it.

    **Examples**

    `cryocore score particles.parquet round_0 scores.parquet --config my.yaml`

    `cryocore score particles.parquet round_1 scores.parquet -c my.yaml --round 1 --subset subset.parquet`
    """
    from cryocore.files import open_table
    from cryocore.score import score as run
    from cryocore.settings.score import Score

    run_config, v = _settings(config, "score", number)
    settings, engine = Score.model_validate(v.pop("score")), _engine(run_config, backend, threads)
    how: dict[str, Any] = {"settings": settings, **v, "backend": engine, "out": scores, "cache": cache}
    run(particles, round_dir, subset, round_number=number, **how)
    with open_table(scores) as file:
        n = file.metadata.num_rows
    answer(f"{n:,} particles in {scores}", {"scores": str(scores), "round": number, "n_particles": n}, as_json)


def select(
    particles: ParticleTable,
    scores: ScoreTable,
    out_table: Annotated[Path, typer.Argument(help="Weights to write, .parquet.", metavar="SUBSET")],
    out_file: Annotated[Path, typer.Argument(help="Kept particles, in the format of the source.", metavar="KEPT")],
    config: ConfigFile,
    number: Annotated[int, typer.Option("--round", help="Number of the round that is selected for.", min=1)] = 1,
    as_json: AsJson = False,
) -> None:
    """Choose the particles of the next round by the scores of the one before.

    `cryocore replay` answers the same for a finished run, and tells more.

    **Examples**

    `cryocore select particles.parquet scores.parquet subset.parquet subset.star --config my.yaml`
    """
    from cryocore.files import as_numpy, read_table
    from cryocore.select.stage import select as run
    from cryocore.settings.select import Select

    v = _settings(config, "select", number)[1]
    settings = Select.model_validate(v.pop("select"))
    run(particles, scores, settings=settings, **v, round_number=number, out_table=out_table, out_star=out_file)
    selected = as_numpy(read_table(out_table, ["selected"]).column(0))
    kept = int(selected.sum())
    value = {"round": number, "n_particles": len(selected), "n_kept": kept, "files": [str(out_table), str(out_file)]}
    answer(f"{kept:,} of {len(selected):,} particles kept, in {out_file}", value, as_json)


def validate(
    scores: ScoreTable,
    round_dir: RoundFolder,
    out_metrics: Annotated[Path, typer.Argument(help="Metrics to write, .json.", metavar="METRICS")],
    out_log: Annotated[Path, typer.Argument(help="Log of the round to write, .parquet.", metavar="LOG")],
    config: ConfigFile,
    truth: Annotated[Path | None, typer.Option(help="Table with particle_id and is_correct, where known.")] = None,
    true_map: Annotated[Path | None, typer.Option("--true-map", help="Map of the truth, where known.")] = None,
    batches: Annotated[Path | None, typer.Option(help="batches.parquet of an iterative reconstruction.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the metrics of a round, and its scores as a log that `cryocore replay` and others read.

    **Examples**

    `cryocore validate scores.parquet round_0 metrics.json log/round=0/log.parquet --config my.yaml`
    """
    import json

    from cryocore.validate import validate_round as run

    v = _settings(config, "validate")[1]
    outs = {"out_metrics": out_metrics, "out_log": out_log}
    run(scores, round_dir, truth, true_map, score_name=v["score"], seed=v["seed"], batches=batches, **outs)
    value = json.loads(out_metrics.read_text())
    right = value["correct_rate"]
    known = "" if right is None else f", {100 * right:.1f} % of them right"
    text = f"{value['n_kept']:,} particles kept{known}, {value['resolution_angstrom']:.2f} Å at FSC 0.143"
    answer(f"{text}; more in {out_metrics}", value, as_json)


def _settings(file: Path, stage: Stage, number: int = 0) -> tuple[Config, dict[str, Any]]:
    """The run, and what the stage reads of it."""
    from cryocore.config_file import read_config
    from cryocore.workflow import stage_settings

    config = read_config(file)
    return config, stage_settings(config, stage, number)


def _engine(config: Config, backend: str, threads: int) -> Any:
    from cryocore.backend import get_backend

    return get_backend(backend or config.backend, threads=threads)
