"""A network that has learned elsewhere, to go on from: what its images must have in common with those at hand, and
what going on from it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryocore.classify.ensemble import Ensemble, Folds, fit_ensemble
from cryocore.classify.models import read_about
from cryocore.classify.training_set import TrainingSet
from cryocore.config.classify import Classify
from cryocore.errors import InputError
from cryocore.types import Floats

AS_IT_IS, FROM_SCRATCH = "the start as it is", "one from scratch"
SAMPLE, FAR, LEAST = 256, 4.0, 0.001
"""Images that are looked at; the factor in a band's mean square beyond which they are normalised otherwise; and the
share of the power in all bands below which a band says nothing of that."""
PROJECTION, RESIDUAL = 2, 3
"""Mean squares among the products of the evidence."""


@dataclass(frozen=True)
class Start:
    """A :class:`~cryocore.classify.network.Network`, where it comes from, and a digest of its weights."""

    folder: Path
    network: Any
    digest: str

    @classmethod
    def read(cls, folder: Path) -> Start:
        """The network of a folder that ``cryocore train`` or the rule ``classify`` wrote; nothing in it can run.

        Raises
        ------
        InputError  if it holds none, or one of another architecture.
        """
        from cryocore.classify.network import Network, weights_digest  # torch is not needed otherwise

        file = folder / "network.pt"
        if (folder / "model.json").exists() and (kind := read_about(folder)["kind"]) != "cnn":
            problem, fix = f"a model of kind {kind}, and only networks go on", "Give one of cryocore train --model cnn"
            raise InputError(problem, file=folder, fix=fix)
        if not file.is_file():
            problem, fix = "no model to start from: there is no network.pt", "Give a folder that cryocore train wrote"
            raise InputError(problem, file=folder, fix=fix)
        network = Network.load(file)
        return cls(folder, network, weights_digest(network.net))

    def about(self) -> dict[str, str]:
        """Where it comes from, and what tells it from others."""
        return {"folder": str(self.folder), "weights_sha256": self.digest}

    def require_like(self, images: Any) -> None:
        """Refuse images ``(n, 3, s, s)`` of another kind than those that the network has learned from.

        Raises
        ------
        InputError  if the side, the channels or the normalisation differ.
        """
        from cryocore.classify.evidence import evidence_by_chunk

        side, own = int(images.shape[-1]), self.network.side
        if own is not None and side != own:
            problem = f"it has learned from images of {own} pixels a side, these have {side}"
            raise self._error(problem, f"Make them {own} pixels (image_size), or choose another start")
        shown = images[np.unique(np.linspace(0, len(images) - 1, SAMPLE).astype(np.int64))]
        shown = shown[np.isfinite(shown).all(axis=(1, 2, 3))]  # the training names those that are not
        if len(shown) == 0:
            return
        cells = np.concatenate([found.numpy() for _, found in evidence_by_chunk(shown, "cpu")])
        power = cells.mean(axis=(0, 3, 4), dtype=np.float64)
        known = self.network.net.mean.cpu().numpy().astype(np.float64)
        alone, was_alone = not power[PROJECTION].any(), not known[PROJECTION].any()
        if alone != was_alone:
            theirs, these = ("residuals alone" if v else "residuals with predictions" for v in (was_alone, alone))
            fix = f"Start from a model of {'two stacks' if alone else 'a run'}"
            raise self._error(f"it has learned from {theirs}, these are {these}", fix)
        before, now = known[RESIDUAL], power[RESIDUAL]
        ratio = np.maximum(np.where(before > LEAST * before.sum(), now / np.maximum(before, 1e-30), 1.0), 1e-30)
        band = int(np.argmax(np.abs(np.log(ratio))))
        if not 1 / FAR < ratio[band] < FAR:
            problem = (
                f"these images are normalised otherwise: in frequency band {band + 1} of {len(ratio)} their mean "
                f"square is {ratio[band]:.3g} times that of the images that it has learned from"
            )
            raise self._error(problem, "Whiten them in the same way, or choose another start")

    def _error(self, problem: str, fix: str) -> InputError:
        return InputError(problem, file=self.folder, fix=fix)


def start_of(settings: Classify, images: Any) -> Start | None:
    """The start that settings name, if they name one; it has to fit the images ``(n, 3, s, s)``."""
    if settings.start is None:
        return None
    start = Start.read(Path(settings.start))
    start.require_like(images)
    return start


def from_scratch(settings: Classify) -> Classify:
    """The same without a start, at the learning rate that suits it."""
    return settings.model_copy(update={"start": None, "learning_rate": None})


def fit_beside(
    kind: str,
    training_set: TrainingSet,
    folds: Folds,
    settings: Classify,
    start: Start | None,
    *,
    seed: int,
    folder: Path,
    device: str,
) -> tuple[Ensemble, dict[str, Floats]]:
    """An ensemble, and where it goes on from a start also what that is compared with.

    That are log odds ``(n,)`` of the training particles by the start as it is, and by an ensemble from scratch, whose
    models have not seen the particles' micrographs either.
    """
    given: dict[str, Any] = {"seed": seed, "device": device}
    if start is None:
        return fit_ensemble(kind, training_set, folds, settings, folder=folder, **given), {}
    tuned = fit_ensemble(kind, training_set, folds, settings, folder=folder, start=start.network, **given)
    without = from_scratch(settings)
    scratch = fit_ensemble(kind, training_set, folds, without, folder=folder / "from_scratch", **given)
    as_it_is = start.network.log_odds(training_set.examples.pictures, device=device)
    return tuned, {AS_IT_IS: as_it_is, FROM_SCRATCH: scratch.log_odds(training_set.examples)}
