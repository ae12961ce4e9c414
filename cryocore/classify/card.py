"""The card beside a model: what it is, what it was trained on, how it was scored, and where not to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cryocore.classify.evaluation import Comparison, Evaluation
from cryocore.figures.look import save_both
from cryocore.markdown import table_lines
from cryocore.tables.io import atomic_path, write_json

FEW, FEW_OF_KIND, WEAK, OFF = 1000, 50, 0.8, 0.02
"""Particles, and of a kind, that are few; AUC that is weak; calibration error beyond chance worth a word."""
TUNING_TITLE = "## Beside the start, and one from scratch"
FIGURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "kappa": "Cohen's κ",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}
CAPTIONS = {
    "confusion": "Confusion matrix",
    "reliability": "Calibration",
    "comparison": "AUC beside the scores of the log",
}


def write_card(
    folder: Path,
    *,
    about: Mapping[str, Any],
    evaluation: Evaluation,
    comparison: Comparison | None = None,
    tuning: Comparison | None = None,
    figures: Mapping[str, Figure] | None = None,
) -> None:
    """Write ``card.json``, ``card.md`` and the figures it shows.

    Parameters
    ----------
    about : plain values. ``name`` and ``purpose`` of the model, ``split`` how the scored particles were kept apart, as
    text; ``data`` and ``training``, tables of whatever is known (``run``, ``round``, ``box``, ``n``,
        ``share_by_kind``, ``snr``...). ``data.molecules``, a list, and ``data.planted``, whether truth is planted, make
        limits. All are optional.
    tuning : a fine-tuned model beside its start as it is, and beside one from scratch
    """
    figures = figures or {}
    for name, figure in figures.items():
        save_both(figure, folder, name)
    limits = limits_of(about, evaluation, comparison) + ([] if tuning is None else worth_of(tuning))
    write_json(
        folder / "card.json",
        {
            "about": dict(about),
            "evaluation": evaluation.as_dict(),
            "comparison": None if comparison is None else comparison.as_dict(),
            "tuning": None if tuning is None else tuning.as_dict(),
            "limits": limits,
            "figures": sorted(figures),
        },
    )
    with atomic_path(folder / "card.md") as temporary:
        temporary.write_text(card_text(about, evaluation, comparison, limits, list(figures), tuning))


def limits_of(about: Mapping[str, Any], evaluation: Evaluation, comparison: Comparison | None) -> list[str]:
    """What the figures do not show, as text."""
    data = about.get("data", {})
    found = list[str]()
    if evaluation.n < FEW:
        found.append(f"Scored on {evaluation.n:,} particles only: differences within the intervals mean nothing.")
    if evaluation.resampled == "particles":
        found.append(
            f"Particles of {evaluation.n_groups} micrographs, too few to draw: the intervals are over particles, and "
            "too narrow if those of one micrograph resemble each other."
        )
    if sum(evaluation.confusion[0]) and evaluation.accuracy.value == 1.0:
        found.append(f"No error was seen; up to {3 / evaluation.n:.2%} of errors would go unseen (95 %).")
    molecules = data.get("molecules", [])
    if len(molecules) == 1:
        found.append(f"Trained on one molecule ({molecules[0]}): nothing here tells how it does on another.")
    if data.get("planted"):
        found.append("The errors are planted: it is scored by the errors that were thought of, at their rates.")
    for kind, entry in evaluation.kinds.items():
        if entry.auc.low <= 0.5:
            found.append(f"It does not tell {kind} from correct ones: AUC {entry.auc}.")
        elif entry.auc.value < WEAK:
            found.append(f"Weak on {kind}: AUC {entry.auc}.")
        if entry.n < FEW_OF_KIND:
            found.append(f"Only {entry.n} particles of kind {kind}.")
    off, chance = evaluation.calibration_error, evaluation.calibration_by_chance
    if off.value > chance + OFF:
        found.append(
            f"Probabilities are off by {off.value:.3f} on average, where chance makes {chance:.3f}: rank by them, "
            "do not read them as rates."
        )
    share = evaluation.n_correct / evaluation.n
    found.append(
        f"Its figures are those of a share of correct particles of {share:.0%}; accuracy and calibration depend on it."
    )
    if comparison is not None and comparison.gain_over_best.low <= 0.0:
        found.append(
            f"Not shown to be better than {comparison.best}: AUC {comparison.gain_over_best.value:+.3f} "
            f"({comparison.gain_over_best.low:+.3f} to {comparison.gain_over_best.high:+.3f})."
        )
    return found


def card_text(
    about: Mapping[str, Any],
    evaluation: Evaluation,
    comparison: Comparison | None,
    limits: Sequence[str],
    figures: Sequence[str],
    tuning: Comparison | None = None,
) -> str:
    """The card as Markdown."""
    lines = [f"# {about.get('name', 'Classifier')}", "", *_paragraph(about.get("purpose"))]
    for title, key in (("Data", "data"), ("Training", "training")):
        if about.get(key):
            lines += [f"## {title}", "", *table_lines(("", ""), _flat(about[key])), ""]
    lines += ["## Split", "", *_paragraph(about["split"])] if about.get("split") else []
    unit = "micrographs" if evaluation.resampled == "groups" else "particles"
    lines += [
        "## Figures",
        "",
        f"{evaluation.n:,} particles of {evaluation.n_groups:,} micrographs, {evaluation.n_correct:,} of them correct; "
        f"95 % intervals of a bootstrap over {unit}.",
        "",
        *table_lines(("figure", "value (95 %)"), ((label, getattr(evaluation, key)) for key, label in FIGURES.items())),
        "",
        f"A calibrated probability would show a calibration error of {evaluation.calibration_by_chance:.3f} by chance.",
        "",
    ]
    if evaluation.kinds:
        rows = ((kind, f"{entry.n:,}", entry.auc) for kind, entry in evaluation.kinds.items())
        lines += [*table_lines(("kind of error", "particles", "AUC (95 %)"), rows), ""]
    if comparison is not None:
        lines += ["## Beside the scores of the log", "", *_comparison(comparison, "score"), ""]
    if tuning is not None:
        lines += [TUNING_TITLE, "", *tuning_lines(tuning), ""]
    lines += ["## Limits", "", *(f"- {limit}" for limit in limits), ""]
    for name in figures:
        lines += [f"![{CAPTIONS.get(name, name)}]({name}.png)", ""]
    return "\n".join(lines).rstrip() + "\n"


def worth_of(tuning: Comparison) -> list[str]:
    """What fine-tuning is worth: a sentence for each model that it is compared with."""
    sentences = []
    for name, gain in tuning.gain.items():
        word = "better than" if gain.low > 0.0 else "worse than" if gain.high < 0.0 else "not shown to differ from"
        sentences.append(f"Fine-tuned, it is {word} {name}: AUC {_gain(gain)}.")
    return sentences


def tuning_lines(tuning: Comparison) -> list[str]:
    """The table of a fine-tuned model beside what it is compared with."""
    return [
        *_comparison(tuning, "model"),
        "",
        "All are judged on the same particles, which the fine-tuned model and the one from scratch have not seen; the "
        "start must not have learned from them either.",
    ]


def _comparison(comparison: Comparison, what: str) -> list[str]:
    order = sorted(comparison.gain, key=lambda name: -comparison.auc[name].value)
    rows = [(name, f"{comparison.n[name]:,}", comparison.auc[name], _gain(comparison.gain[name])) for name in order]
    first = ("classifier", f"{comparison.n['probability']:,}", comparison.auc["probability"], "")
    best = comparison.gain_over_best
    return [
        *table_lines((what, "particles", "AUC (95 %)", f"classifier less {what}"), [first, *rows]),
        "",
        f"Over whichever {what} is best ({comparison.best} here): {_gain(best)}.",
    ]


def _gain(estimate: Any) -> str:
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


def _paragraph(text: Any) -> list[str]:
    return [str(text), ""] if text else []


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested plain values as rows of names and texts."""
    rows = list[tuple[str, str]]()
    for name, value in values.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += _flat(value, f"{label}: ")
        elif isinstance(value, (list, tuple)):
            rows.append((label, ", ".join(map(str, value))))
        elif isinstance(value, bool):
            rows.append((label, "yes" if value else "no"))
        elif value is not None:
            rows.append((label, f"{value:,.4g}" if isinstance(value, float) else str(value)))
    return rows
