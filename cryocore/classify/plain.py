"""A network on residual images alone: two arrays of them, correct and incorrect, and no run.

Where there is no projection beside the residuals, their powers by band and place are all the evidence there is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import expit

from cryocore.classify.card import TUNING_TITLE, tuning_lines, worth_of
from cryocore.classify.ensemble import calibration
from cryocore.classify.evaluation import Comparison, Evaluation, compare, evaluate
from cryocore.classify.evaluation_figures import evaluation_figures
from cryocore.classify.evidence import LARGEST, SMALLEST
from cryocore.classify.export import read_stack
from cryocore.classify.models import balanced
from cryocore.classify.start import AS_IT_IS, FROM_SCRATCH, from_scratch, start_of
from cryocore.config.classify import Classify
from cryocore.errors import InputError
from cryocore.figures.look import save_both
from cryocore.formats.stacks import mapped_images
from cryocore.tables.io import atomic_path, write_json, write_table
from cryocore.types import Bools, Floats, Rows

STREAM, PART = 44, 256

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Residuals:
    """Images of two stacks, one after the other, as the network takes them ``(n, 3, s, s)``: residuals in the place of
    the images too, and no projection.

    ``unit`` : standard deviation of all pixels
    """

    stacks: tuple[NDArray[Any], NDArray[Any]]
    rows: Rows
    unit: float

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """As of an array."""
        side = self.stacks[0].shape[1]
        return len(self.rows), 3, side, side

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Rows) -> NDArray[np.float32]:
        chosen, first = self.rows[rows], len(self.stacks[0])
        out = np.zeros((len(chosen), *self.shape[1:]), dtype=np.float32)
        for stack, start, members in ((self.stacks[0], 0, chosen < first), (self.stacks[1], first, chosen >= first)):
            out[members, 0] = out[members, 2] = np.asarray(stack[chosen[members] - start], dtype=np.float32) / self.unit
        return out

    def take(self, members: Rows) -> Residuals:
        """Some of them."""
        return Residuals(self.stacks, self.rows[members], self.unit)

    @property
    def correct(self) -> Bools:
        """Whether each is of the first stack, ``(n,)``."""
        return self.rows < len(self.stacks[0])


def open_residuals(correct: Path, incorrect: Path) -> Residuals:
    """The images of two ``.npy`` or MRC stacks.

    Raises
    ------
    InputError  if they are no stacks of square images of one side that the network takes.
    """
    first, second = (_stack(path) for path in (correct, incorrect))
    if first.shape[1:] != second.shape[1:]:
        problem = f"its images are {second.shape[1:]}, those of {correct.name} {first.shape[1:]}"
        raise InputError(problem, file=incorrect, fix="Give images of one side")
    if not SMALLEST <= first.shape[1] <= LARGEST:
        problem = f"a side of {first.shape[1]} pixels; the network takes {SMALLEST} to {LARGEST}"
        raise InputError(problem, file=correct, fix="Write them in another size, as cryocore residuals does")
    unit = float(np.sqrt(np.mean([_mean_square(stack) for stack in (first, second)])))
    if not (np.isfinite(unit) and unit > 0):
        raise InputError("images that are blank, or not finite", file=correct, fix="Write them again")
    return Residuals((first, second), np.arange(len(first) + len(second)), unit)


def _stack(path: Path) -> NDArray[Any]:
    """Images left on disk until they are used."""
    return read_stack(path) if path.suffix == ".npy" else mapped_images(path)


def _mean_square(stack: NDArray[Any]) -> float:
    parts = (stack[start : start + PART].astype(np.float64) for start in range(0, len(stack), PART))
    return sum(float(np.vdot(part, part)) for part in parts) / stack.size


def train_plain(
    correct: Path, incorrect: Path, settings: Classify, out_dir: Path, *, seed: int, device: str = "cpu"
) -> Evaluation:
    """Train a network on two stacks of residual images, and write it with what it is worth.

    Its worth is that of networks that score, fold by fold, what they have not seen; ``network.pt`` has learned from all
    but the fold that says when to stop. In ``out_dir`` are also ``card.md``, ``card.json``, figures, TensorBoard curves
    and ``log_odds.parquet`` (a row for each image, the correct ones first).

    Raises
    ------
    InputError  if the stacks do not fit, or there are too few images for the folds.
    """
    images = open_residuals(correct, incorrect)
    label, n = images.correct, settings.n_folds
    if min(np.bincount(label, minlength=2)) < 3 * n:
        raise InputError(f"{n} folds need {3 * n} images of each kind at least", file=correct, fix="Give more images")
    fold = folds_of(label, n, seed)
    start = start_of(settings, images)
    given: dict[str, Any] = {"start": start and start.network, "seed": seed, "device": device}
    place = out_dir / "training"
    raw = by_folds(images, fold, settings, place, **given)
    slope, intercept = calibration(raw, label, np.ones(len(label), dtype=np.float32))
    probability = expit(slope * raw + intercept)
    judged: dict[str, Any] = {"groups": np.arange(len(label)).astype(str), "seed": seed}
    result, tuning = evaluate(probability, label, **judged), None
    if start is not None:
        scratch = by_folds(images, fold, from_scratch(settings), place / "from_scratch", **{**given, "start": None})
        others = {AS_IT_IS: start.network.log_odds(images, device=device), FROM_SCRATCH: scratch}
        tuning = compare(probability, others, label, **judged)
    trained(images, fold == 0, settings, place, "final", **given).save(out_dir / "network.pt")
    write_table(out_dir / "log_odds.parquet", pa.table({"correct": label, "log_odds": raw, "probability": probability}))
    for name, figure in evaluation_figures(result).items():
        save_both(figure, out_dir, name)
    about = {
        "correct": str(correct),
        "incorrect": str(incorrect),
        "side": images.shape[-1],
        "scale": [slope, intercept],
    }
    compared: dict[str, Any] = {}
    if start is not None and tuning is not None:
        compared = {"start": start.about(), "tuning": tuning.as_dict()}
    write_json(out_dir / "card.json", {**about, "evaluation": result.as_dict(), **compared})
    with atomic_path(out_dir / "card.md") as temporary:
        temporary.write_text(card(about, result, n, tuning))
    log.info("%s written", out_dir)
    return result


def by_folds(images: Residuals, fold: Rows, settings: Classify, folder: Path, **given: Any) -> Floats:
    """Log odds ``(n,)`` of all images, each by a network that has not seen it; ``given`` is as :func:`trained` has it.

    ``fold`` : (n,) from 0
    """
    n, found = int(fold.max()) + 1, np.zeros(len(fold))
    for f in range(n):
        seen, unseen = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        network = trained(
            images.take(seen), fold[seen] == (f + 1) % n, settings, folder, f"fold {f + 1} of {n}", **given
        )
        found[unseen] = network.log_odds(images.take(unseen), device=given["device"])
    return found


def trained(images: Residuals, stopping: Bools, settings: Classify, folder: Path, name: str, **given: Any) -> Any:
    """A network that learns from all images but those ``stopping`` ``(n,)``, which say when to stop.

    ``given`` : seed, device and start as :func:`cryocore.classify.network.fit` has them
    """
    from cryocore.classify.network import Training, fit  # torch is not needed otherwise

    label, place = images.correct, folder / name.replace(" ", "_")
    weight = balanced(label, np.ones(len(label), dtype=np.float32), ~stopping)
    return fit(images, label, weight, stopping, settings=Training.of(settings), folder=place, name=name, **given)


def folds_of(label: Bools, n: int, seed: int) -> Rows:
    """A fold for each image, from 0: as many of each kind in each."""
    rng, fold = np.random.default_rng([seed, STREAM]), np.empty(len(label), dtype=np.int64)
    for kind in (False, True):
        members = np.flatnonzero(label == kind)
        fold[rng.permutation(members)] = np.arange(len(members)) % n
    return fold


def card(about: dict[str, Any], result: Evaluation, n: int, tuning: Comparison | None = None) -> str:
    """For people."""
    (_, false), (missed, _) = result.confusion
    compared = list[str]()
    if tuning is not None:
        worth = [f"- {sentence}" for sentence in worth_of(tuning)]
        compared = ["", TUNING_TITLE, "", *tuning_lines(tuning), "", *worth, ""]
    return f"""# Residual images, correct or not

{result.n_correct:,} correct images of {about["correct"]}
and {result.n - result.n_correct:,} incorrect ones of {about["incorrect"]}, {about["side"]} pixels a side.
Each was judged by a network that has not seen it ({n} folds).

| | with its 95 % interval |
|---|---|
| AUC | {result.auc} |
| accuracy | {result.accuracy} |
| incorrect images called correct | {false:,} |
| correct images called incorrect | {missed:,} |
""" + "\n".join(compared)
