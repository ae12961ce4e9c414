"""Half maps by minimising a robust loss, or by Fourier inversion."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cryocore.config.base import Fraction, PerRound, Positive, Section
from cryocore.config.reconstruct import Reconstruct


class Iterative(Section):
    """Half maps by minimising a robust loss. Lists give one value per epoch; the last one stays."""

    loss: Literal["l2", "trimmed", "trimmed_l1", "l1", "huber", "irls", "student_t"] = Field(
        default="student_t", description="what a particle's residual costs"
    )
    residual: Literal["matched", "plain"] = Field(default="matched", description="the residual that robust losses use")
    keep: Annotated[list[Fraction], PerRound] = Field(
        default=[1.0, 0.9, 0.8, 0.7],
        min_length=1,
        description="of trimmed losses: share of the particles kept, per epoch",
    )
    scope: Literal["set", "batch"] = Field(
        default="set", description="of trimmed losses: what is sorted, by the last epoch"
    )
    delta: Positive = Field(default=1.345, description="huber: distance from which on the loss is linear")
    floor: Positive = Field(
        default=1.0, description="l1, trimmed_l1, irls: distances below this count as much as this one"
    )
    nu: Positive = Field(default=2.0, description="student_t: degrees of freedom; few forgive more")
    start: Literal["direct", "zero"] = Field(default="direct", description="the first map")
    optimiser: Literal["LBFGS", "SGD", "Adam", "AdamW", "RMSprop"] = Field(
        default="LBFGS", description="of torch.optim"
    )
    learning_rate: Positive | None = Field(default=None, description="null: 1; of SGD 0.3, of Adam and its kin 0.1")
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0, description="of SGD")
    schedule: Literal["constant", "cosine", "exponential", "step", "warm_restarts", "plateau", "listed"] = Field(
        default="constant", description="of the learning rate"
    )
    decay: Fraction = Field(
        default=0.9, description="exponential, step, plateau: learning rate over the one before it fell"
    )
    every: int = Field(
        default=3,
        ge=1,
        description="step, plateau: epochs to a fall; warm_restarts: of a cosine",
    )
    rates: Annotated[list[Positive], PerRound] = Field(
        default=[1.0], min_length=1, description="listed: learning rate over learning_rate, per epoch"
    )
    n_epochs: int = Field(default=12, ge=1, le=999, description="passes over the images, at most")
    batch_size: Annotated[int, Field(ge=2)] | None = Field(default=None, description="particles per step; null: all")
    ridge: float = Field(default=0.0, ge=0.0, description="weight of |x|², in that of the mean coefficient's data")
    prior: Literal["none", "wiener"] = Field(default="none", description="wiener: by the FSC of the first half maps")
    tolerance: float = Field(default=1e-3, ge=0.0, description="stop at this relative residual of the normal equations")
    patience: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="epochs without a lower cross-validation loss to stop after; null: never"
    )
    processes: int = Field(
        default=1, ge=1, le=64, description="GPUs, or processes without one, that share the particles"
    )

    @model_validator(mode="after")
    def _lbfgs_sees_everything(self) -> Iterative:
        if self.optimiser == "LBFGS" and self.batch_size is not None:
            raise ValueError("LBFGS needs the gradient of all particles: set batch_size: null, or use SGD or Adam")
        return self


class Solve(Reconstruct):
    """From particles to half maps."""

    method: Literal["direct", "iterative"] = Field(default="direct", description="Fourier inversion, or a robust loss")
    iterative: Iterative = Field(default=Iterative(), description="how the robust loss is minimised (needs torch)")
