"""A small convolutional network with attention that tells correct particles from incorrect ones by :func:`evidence`.

What of the evidence counts, which cells to attend to, and what else their pattern tells are learned. Evidence is not,
and it turns with the images: a training runs it once, and the rotations and mirrors of the augmentation act on its
cells. They are all that leaves the label as it is, if all channels turn alike; log odds are averaged over them.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cryocore.errors import InputError

try:
    import torch
except ImportError:
    raise InputError("torch is not installed", fix="Install cryocore[learn], or choose another model") from None

from torch import nn

from cryocore.classify import training_pictures as pictures
from cryocore.classify.attention import AttentionNet
from cryocore.classify.evidence import BANDS, CELLS, PRODUCTS, Rows, evidence_by_chunk, turned
from cryocore.config.classify import Classify
from cryocore.log.rates import auc
from cryocore.training import checkpoint
from cryocore.training.board import Board
from cryocore.types import Floats

FORMAT = "cryocore.classify.network 1"
WEIGHT_DECAY, WARM_UP = 0.02, 0.05
RATE, TUNING_RATE = 1e-3, 3e-4
"""Learning rates, the highest of a training: from nothing, and from a network that has learned elsewhere."""


@dataclass(frozen=True)
class Training:
    """How a network is trained: ``patience`` epochs without a lower validation loss end it."""

    n_epochs: int = 40
    patience: int = 8
    batch_size: int = 64
    learning_rate: float = RATE

    @classmethod
    def of(cls, settings: Classify) -> Training:
        """As settings say, which leave the learning rate to whether there is a start."""
        rate = settings.learning_rate or (RATE if settings.start is None else TUNING_RATE)
        return cls(settings.n_epochs, settings.patience, settings.batch_size, rate)


@dataclass(frozen=True)
class Epoch:
    """Weighted cross-entropy of the training and the validation images (nats), and the AUC of the latter."""

    epoch: int
    loss: float
    validation_loss: float
    validation_auc: float
    learning_rate: float


@dataclass(frozen=True)
class Network:
    """A trained network, and its training epoch by epoch.

    ``side`` : of the images that it has learned from, in pixels; None: not known
    """

    net: AttentionNet
    history: tuple[Epoch, ...]
    side: int | None = None

    def log_odds(self, images: Any, *, device: str = "cpu") -> Floats:
        """Log odds that particles are correct, at the share of correct ones (by weight) in the training.

        Parameters
        ----------
        images : (n, 3, s, s)  residual, projection, image in units of the noise; an array, or what gives one by rows
        """
        net = self.net.to(device).eval()
        found = np.empty(len(images))
        with torch.no_grad():
            for rows, cells in evidence_by_chunk(images, device):
                found[rows] = net.averaged(cells).cpu().numpy()
        return found

    def save(self, path: Path) -> None:
        """Write the weights and plain values, in one file."""
        state = {name: value.cpu() for name, value in self.net.state_dict().items()}
        history = [asdict(e) for e in self.history]
        checkpoint.save(path, {"identity": FORMAT, "state": state, "history": history, "side": self.side})

    @classmethod
    def load(cls, path: Path) -> Network:
        """Read what :meth:`save` wrote; nothing in the file can run.

        Raises
        ------
        InputError  if there is no file, or it is damaged or something else.
        """
        if not path.is_file():
            raise InputError("the network does not exist", file=path, fix="Train it first")
        other, fix = "not a network of this version", "Train it again"
        try:
            kept = checkpoint.load(path, FORMAT)
        except InputError as error:
            raise InputError(error.problem, file=path, fix="Give another, or train it again") from None
        if kept is None:
            raise InputError(other, file=path, fix=fix)
        try:
            net = AttentionNet()
            found, wanted = ({n: tuple(v.shape) for n, v in s.items()} for s in (kept["state"], net.state_dict()))
            for name in sorted(found.keys() | wanted.keys()):
                if found.get(name) != wanted.get(name):
                    has = f"{name} is {found.get(name, 'absent')}, not {wanted.get(name, 'there')}"
                    raise InputError(f"{other}: {has}", file=path, fix=fix)
            net.load_state_dict(kept["state"])
            return cls(net.eval(), tuple(Epoch(**e) for e in kept["history"]), kept.get("side"))
        except InputError:
            raise
        except (AttributeError, KeyError, RuntimeError, TypeError):
            raise InputError(other, file=path, fix=fix) from None


@dataclass(frozen=True)
class Examples:
    """Images ``(n, 3, s, s)``, their evidence ``(n, PRODUCTS, BANDS, CELLS, CELLS)`` on disk, labels and weights
    ``(n,)``, which rows do what."""

    images: Any
    cells: NDArray[np.float32]
    labels: torch.Tensor
    weights: torch.Tensor
    train: Rows
    held: Rows
    device: str

    def batches(self, rows: Rows, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Evidence, labels and weights of some rows, in their order."""
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            cells = torch.from_numpy(np.asarray(self.cells[part]))
            chosen = torch.from_numpy(part)
            yield cells.to(self.device), self.labels[chosen].to(self.device), self.weights[chosen].to(self.device)


def fit(
    images: Any,
    labels: NDArray[Any],
    weights: NDArray[Any],
    validation: NDArray[np.bool_],
    *,
    settings: Training,
    seed: int,
    folder: Path | None,
    name: str,
    device: str = "cpu",
    start: Network | None = None,
) -> Network:
    """Train a network; the epoch with the lowest validation loss is what it keeps.

    The same seed gives the same network on the same number of threads, after an interruption too. From a ``start`` it
    takes what that has learned, but location and scale of the evidence from its own images.

    Parameters
    ----------
    images : (n, 3, s, s)  residual, projection, image in units of the noise; an array, or what gives one by rows
    labels : (n,)          1 correct, 0 incorrect
    weights : (n,)         how much each image counts, at least 0
    validation : (n,)      images that end the training but do not teach; they share no micrograph with the others
    folder : where checkpoints ``<name>.checkpoint.pt`` and curves are written, and 14 kB of evidence per image while it
        runs; None for a temporary one without checkpoints
    device : of torch, as ``cpu`` or ``cuda``
    start : a trained network to go on from; None: from nothing

    Raises
    ------
    InputError  if the training or the validation images are all correct or all incorrect, or the arrays do not fit.
    """
    labels, weights, validation = np.asarray(labels), np.asarray(weights, dtype=np.float64), np.asarray(validation)
    check_examples(len(images), labels, weights, validation)
    with tempfile.TemporaryDirectory() as spare, torch.random.fork_rng([device] if device != "cpu" else []):
        place = Path(spare) if folder is None else folder
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"{name}.evidence.npy"
        try:
            cells, digest = store_evidence(images, path, device)
            weight = weights / weights[~validation].mean()
            examples = Examples(
                images,
                cells,
                torch.from_numpy(labels.astype(np.float32)),
                torch.from_numpy(weight.astype(np.float32)),
                np.flatnonzero(~validation),
                np.flatnonzero(validation),
                device,
            )
            before = None if start is None else weights_digest(start.net)
            known = asdict(settings), seed, digest, before
            wanted = checkpoint.identity(*known, labels.astype(np.int8), weights, validation)
            net = train(examples, settings, seed, place, name, wanted, start, with_curves=folder is not None)
            return replace(net, side=int(images.shape[-1]))
        finally:
            path.unlink(missing_ok=True)


def check_examples(n: int, labels: NDArray[Any], weights: NDArray[Any], validation: NDArray[np.bool_]) -> None:
    """Refuse what nothing can be learned from."""
    shapes = {"labels": labels.shape, "weights": weights.shape, "validation": validation.shape}
    for what, shape in shapes.items():
        if shape != (n,):
            raise InputError(f"{what} must be ({n},), one per image, not {shape}", fix="Give one value per image")
    if not np.isin(labels, (0, 1)).all() or not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise InputError(
            "labels must be 0 or 1, and weights finite and not negative", fix="Leave out images without a label"
        )
    for what, chosen in (("training", ~validation), ("validation", validation)):
        found = np.unique(labels[chosen & (weights > 0)])
        if len(found) < 2:
            kind = "absent" if len(found) == 0 else "all correct" if found[0] else "all incorrect"
            raise InputError(
                f"the {what} images are {kind}; correct from incorrect is learned from both",
                fix="Plant errors in more particles, or split the micrographs otherwise",
            )


def store_evidence(images: Any, path: Path, device: str) -> tuple[NDArray[np.float32], str]:
    """The evidence of all images in a file mapped into memory, and its digest."""
    shape = (len(images), PRODUCTS, BANDS, CELLS, CELLS)
    cells = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    digest = hashlib.sha256()
    for rows, found in evidence_by_chunk(images, device):
        part = found.cpu().numpy()
        cells[rows] = part
        digest.update(part.tobytes())
    return cells, digest.hexdigest()


def weights_digest(net: AttentionNet) -> str:
    """What tells one network from another, whatever else its file holds."""
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


def train(
    examples: Examples,
    settings: Training,
    seed: int,
    folder: Path,
    name: str,
    wanted: str,
    start: Network | None = None,
    *,
    with_curves: bool,
) -> Network:
    """Epochs until the validation loss falls no more, from the checkpoint of the same problem if there is one."""
    torch.manual_seed(seed)
    net = AttentionNet().to(examples.device)
    if start is not None:
        net.load_state_dict(start.net.state_dict())
    size = settings.batch_size
    net.measure(lambda: (cells for cells, _, _ in examples.batches(examples.train, size)))
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=WEIGHT_DECAY)
    n_steps = settings.n_epochs * math.ceil(len(examples.train) / size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate_factor(step, n_steps))
    history: list[Epoch] = []
    best = net.state_dict()
    path = folder / f"{name}.checkpoint.pt"
    kept = checkpoint.load(path, wanted)
    if kept is not None:
        net.load_state_dict(kept["state"])
        optimiser.load_state_dict(kept["optimiser"])
        schedule.load_state_dict(kept["schedule"])
        best, history = kept["best"], [Epoch(**e) for e in kept["history"]]
    board = Board(folder / "tensorboard" / name, active=with_curves)
    with tqdm(total=settings.n_epochs, initial=len(history), desc=name, unit="epoch", disable=None) as bar:
        while not finished(history, settings):
            number = len(history)
            rate = float(optimiser.param_groups[0]["lr"])
            loss = run_epoch(net, examples, optimiser, schedule, size, (seed, number))
            odds = held_log_odds(net, examples, size)
            history.append(Epoch(number, loss, *validated(odds, examples), rate))
            if best_epoch(history) == number:
                best = {key: value.detach().clone() for key, value in net.state_dict().items()}
            state = {
                "identity": wanted,
                "state": net.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "best": best,
                "history": [asdict(e) for e in history],
            }
            checkpoint.save(path, state)
            board.add(history[-1])
            if board.shows(number, last=finished(history, settings)):
                show(board, number, net, odds, examples)
            bar.set_postfix(loss=f"{loss:.3f}", validation=f"{history[-1].validation_loss:.3f}")
            bar.update()
    board.close()
    net.load_state_dict(best)
    return Network(net.cpu().eval(), tuple(history))


def rate_factor(step: int, n_steps: int) -> float:
    """A short rise, then a cosine to zero."""
    return min((step + 1) / max(WARM_UP * n_steps, 1.0), 0.5 * (1.0 + math.cos(math.pi * step / n_steps)))


def run_epoch(
    net: AttentionNet,
    examples: Examples,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    size: int,
    seed: tuple[int, int],
) -> float:
    """One pass over the training images, each turned at random; the mean loss. Its chance is of ``seed`` alone."""
    random = np.random.default_rng(seed)
    torch.manual_seed(int(random.integers(2**62)))
    net.train()
    order = random.permutation(examples.train)
    total = 0.0
    for cells, labels, weights in examples.batches(order, size):
        element = random.integers(8, size=len(cells))
        for e in range(8):
            at = torch.from_numpy(np.flatnonzero(element == e)).to(cells.device)
            cells[at] = turned(cells[at], e)
        loss = nn.functional.binary_cross_entropy_with_logits(net(cells), labels, weight=weights)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        total += float(loss.detach()) * len(cells)
    return total / len(order)


@torch.no_grad()
def held_log_odds(net: AttentionNet, examples: Examples, size: int) -> torch.Tensor:
    """Log odds of the validation images."""
    net.eval()
    return torch.cat([net.averaged(cells) for cells, _, _ in examples.batches(examples.held, size)]).double().cpu()


def validated(odds: torch.Tensor, examples: Examples) -> tuple[float, float]:
    """Weighted cross-entropy and AUC of the validation images."""
    labels, weights = (values[examples.held].double() for values in (examples.labels, examples.weights))
    losses = nn.functional.binary_cross_entropy_with_logits(odds, labels, reduction="none")
    area = auc(odds.numpy(), labels.numpy() > 0)
    return float((losses * weights).sum() / weights.sum()), math.nan if area is None else area


def show(board: Board, number: int, net: AttentionNet, odds: torch.Tensor, examples: Examples) -> None:
    """Pictures of an epoch: validation images that surprise, weights and answers; at first what the network sees."""
    correct, held, log_odds = examples.labels.numpy() > 0, examples.held, odds.numpy()
    weights = examples.weights.numpy()[held].astype(np.float64)
    figures = {"most_surprising": pictures.surprise_figure(examples.images, correct, held, log_odds, weights)}
    if number == 0:
        figures["input"] = pictures.input_figure(examples.images, correct, examples.train)
    board.add_pictures(number, figures, pictures.histograms(net, correct[held], log_odds))


def finished(history: list[Epoch], settings: Training) -> bool:
    """Whether all epochs are done, or ``patience`` of them brought nothing."""
    stalled = bool(history) and len(history) - 1 - best_epoch(history) >= settings.patience
    return stalled or len(history) >= settings.n_epochs


def best_epoch(history: list[Epoch]) -> int:
    """The epoch with the lowest validation loss."""
    return int(np.argmin([e.validation_loss for e in history]))
