"""What each stage reads from the configuration, and no more: a stage reruns when one of these values changes."""

from __future__ import annotations

from typing import Any, Literal, get_args

from cryocore.config import Config, Select, per_round
from cryocore.data import SCORES

Stage = Literal["simulate", "plant", "ingest", "reconstruct", "score", "select", "validate", "report"]
STAGES: tuple[str, ...] = get_args(Stage)
STAND_IN = "dual"
"""The column that is judged where the score that selects is not in the log."""


def stage_settings(config: Config, stage: Stage, round_number: int = 0) -> dict[str, Any]:
    """The settings of one job as plain values.

    Parameters
    ----------
    config : the run
    stage : its name
    round_number : matters to ``select`` only, whose lists hold one value per round

    Returns
    -------
    dict that :func:`json.dumps` can write. The backend is in none of them: it decides where a job runs, not what
    it computes.
    """
    common = {"symmetry": config.symmetry, "seed": config.seed}
    real = config.input.star is not None
    files = {
        "root": config.input.root if real else None,
        "pixel_size_angstrom": config.input.pixel_size_angstrom if real else None,
        "seed": config.seed,
    }
    match stage:
        case "simulate":
            return {"simulate": _dump(config.input.simulate), "plant": _dump(config.input.plant), **common}
        case "plant":
            return {"plant": _dump(config.input.plant), **files}
        case "ingest":
            return files
        case "reconstruct":
            values = _dump(config.reconstruct)
            del values["mask"]  # an input file of the job
            return {"reconstruct": values, "symmetry": config.symmetry}
        case "score":
            return {"score": _dump(config.score), **common}
        case "select":
            return {"select": _select_settings(config.select, round_number), **common}
        case "validate":
            return {"score": config.select.score if config.select.score in SCORES else STAND_IN}
        case "report":
            values = _dump(config)
            del values["backend"]
            return {"config": values}


def _select_settings(select: Select, round_number: int) -> dict[str, Any]:
    """The rule in use with its value for one round, as a list of one; other rules' values are left out."""
    rules = get_args(Select.model_fields["rule"].annotation)
    values = {name: value for name, value in _dump(select).items() if name not in rules or name == select.rule}
    return {n: [per_round(v, round_number)] if isinstance(v, list) else v for n, v in values.items()}


def _dump(section: Any) -> dict[str, Any]:
    values: dict[str, Any] = section.model_dump(mode="json")
    return values
