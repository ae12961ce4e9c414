"""What each stage reads from the configuration, and no more: a stage reruns when one of these values changes."""

from __future__ import annotations

from typing import Any, Literal, get_args

from cryocore.config.base import per_round
from cryocore.config.classify import CLASSIFIERS
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.run import Config

Stage = Literal[
    "simulate",
    "join",
    "plant",
    "ingest",
    "cache",
    "sum",
    "reconstruct",
    "noise",
    "score",
    "gather",
    "examine",
    "truth",
    "classify",
    "select",
    "validate",
    "look",
    "report",
    "audit",
    "refine",
    "refined",
]
STAGES: tuple[str, ...] = get_args(Stage)


def stage_settings(config: Config, stage: Stage, round_number: int = 0) -> dict[str, Any]:
    """The settings of one job as plain values.

    Parameters
    ----------
    config : the run
    stage : its name
    round_number : matters to ``score`` and ``select``, whose lists hold one value per round

    Returns
    -------
    dict that :func:`json.dumps` can write. The backend is in none of them: it decides where a job runs, not what
    it computes.
    """
    common = {"symmetry": config.symmetry, "seed": config.seed}
    real = config.input.star is not None
    joined = len(config.input.files) > 1
    files = {
        # join has written paths that start from the working directory
        "root": config.input.root if real and not joined else None,
        "pixel_size_angstrom": config.input.pixel_size_angstrom if real else None,
        "seed": config.seed,
        "passthrough": config.input.passthrough,
    }
    chosen = {
        "class_number": config.input.class_number if real and not joined else None,
        **_dump_only(config.input, "copies", "min_distance_angstrom", "duplicate_share"),
    }
    planted = real and config.input.plant.total > 0.0
    match stage:
        case "simulate":
            return {"simulate": _dump(config.input.simulate), "plant": _dump(config.input.plant), **common}
        case "join":
            pixel, number = config.input.pixel_size_angstrom, config.input.class_number
            return {"root": config.input.root, "pixel_size_angstrom": pixel, "class_number": number}
        case "plant":
            return {"plant": _dump(config.input.plant), "choice": chosen, **files}
        case "ingest":
            # plant has chosen among the particles already, and turns copies of images
            done = {"class_number": None, "copies": "keep", "min_distance_angstrom": None}
            return {"choice": {**chosen, **done} if planted else chosen, **files}
        case "cache":
            return {"max_resolution_angstrom": config.reconstruct.max_resolution_angstrom}
        case "sum":
            return {"reconstruct": _dump_only(config.reconstruct, "padding", "max_resolution_angstrom")}
        case "noise":
            return {"score": _dump_only(config.score, "n_bands", "noise"), **common}
        case "gather":
            return {"seed": config.seed}
        case "examine":
            return common
        case "look":
            return {"seed": config.seed}
        case "truth":
            return {}
        case "reconstruct":
            # the mask is an input file of the job
            direct = _dump_only(config.reconstruct, *{*Reconstruct.model_fields} - {"mask"})
            if config.reconstruct.method == "direct":
                return {"reconstruct": direct, "symmetry": config.symmetry}
            del direct["full_every"]
            robust = _dump_only(config.reconstruct, "method", "iterative")
            del robust["iterative"]["processes"]  # where it runs
            return {"reconstruct": direct | robust, **common}
        case "score":
            # the scores of round r choose the particles of round r + 1
            values = _of_round(_dump(config.score), {"cryosieve_angstrom"}, round_number + 1)
            if values["leave_one_out"] == "closed_form":
                del values["n_folds"]
            return {"score": values, **common}
        case "classify":
            # the file of a given model is an input of the job
            made = config.classify.model in CLASSIFIERS
            return {"classify": _dump(config.classify) if made else {"model": "given"}, **common}
        case "select":
            return {"select": _of_round(_dump(config.select), {"value"}, round_number), **common}
        case "validate":
            return {"score": config.select.score}
        case "report":
            values = _dump(config)
            del values["backend"], values["n_shards"], values["audit"], values["refine"], values["input"]["scratch"]
            return {"config": values}
        case "audit":
            # it asks of the run as it is
            return {}
        case "refine":
            return {"refine": _dump(config.refine), "symmetry": config.symmetry}
        case "refined":
            return {}


def _of_round(values: dict[str, Any], schedules: set[str], selection: int) -> dict[str, Any]:
    """The values, of schedules that of one selection alone, as a list of one."""
    return {n: [per_round(v, selection)] if n in schedules else v for n, v in values.items()}


def _dump_only(section: Any, *names: str) -> dict[str, Any]:
    return {name: value for name, value in _dump(section).items() if name in names}


def _dump(section: Any) -> dict[str, Any]:
    values: dict[str, Any] = section.model_dump(mode="json")
    return values
