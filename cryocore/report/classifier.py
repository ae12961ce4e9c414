"""The section on the classifier: what it adds to the scores of the log, and the images it is most sure of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryocore.report.section import Drawing, Section, Table

NAMED = "classifier", "Classifier", "What do residual images tell beyond the scores?"
READING = (
    "Images above, what the half map predicts at their pose below: on the left the particles that the classifier is "
    "most sure are incorrect, on the right those it is most sure are correct. Both are blurred, so that the eye finds "
    "something in the noise."
)


def classifier_section(
    run_dir: Path, last: int, aucs: dict[str, float | None], *, model: str, selects: bool
) -> Section | None:
    """From the folder ``classifier`` of the last round; None where the run has none.

    ``model`` : ``classify.model``; ``selects`` : whether the selection goes by its probability
    """
    if model == "none":
        return None
    from cryocore.classify.example_images import ExampleImages  # slow to import, with all that learns
    from cryocore.classify.results import EXAMPLES

    folder = run_dir / f"round_{last}" / "classifier"
    if not (folder / EXAMPLES).exists():
        return None
    drawing = Drawing(
        "classifier", ExampleImages.read(folder / EXAMPLES).figure(), "Images most surely incorrect and correct"
    )
    points, tables = list(_by_truth(aucs)), []
    answer, warnings = f"The classifier was made before; {model} holds its card.", tuple[str, ...]()
    if (folder / "card.json").exists():
        card = json.loads((folder / "card.json").read_text())
        answer = _answer(card["evaluation"], card["comparison"])
        tables = [_kinds(card["evaluation"])]
        points += card["limits"]
        if selects and card["comparison"]["gain_over_best"]["high"] < 0.0:
            best = card["comparison"]["best"]
            warnings = (f"Particles are selected by a classifier that is worse than the score {best}: do not use it.",)
    return Section(*NAMED, answer, tuple(points), (drawing,), tuple(tables), READING, warnings=warnings)


def _by_truth(aucs: dict[str, float | None]) -> list[str]:
    own, others = aucs.get("probability"), {n: v for n, v in aucs.items() if n != "probability" and v is not None}
    if own is None or not others:
        return []
    best = max(others, key=lambda name: others[name] or 0.0)
    return [
        f"On all particles, by the truth: AUC {own:.3f}; the best score of the log, {best}, has {others[best]:.3f}. "
        "Training particles are not all particles: of those made incorrect, more are hard to tell."
    ]


def _answer(evaluation: dict[str, Any], comparison: dict[str, Any]) -> str:
    area, gain, best = evaluation["auc"], comparison["gain_over_best"], comparison["best"]
    worth = f"AUC {area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f}) on particles that it has not seen"
    by = f"{gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
    if gain["low"] > 0.0:
        return f"It adds to the scores: {worth}, {by} beyond the best of them, {best}."
    if gain["high"] < 0.0:
        return f"It is worse than the scores: {worth}, {by} beside the best of them, {best}."
    return f"Not shown to add to the scores: {worth}, {by} beside the best of them, {best}."


def _kinds(evaluation: dict[str, Any]) -> Table:
    rows = tuple(
        (name.replace("_", " "), f"{kind['n']:,}", f"{kind['auc']['value']:.3f}")
        for name, kind in evaluation["kinds"].items()
    )
    return Table("Kinds of error, among its training particles", ("kind", "particles", "AUC"), rows)
