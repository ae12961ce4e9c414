"""A classifier on residual images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cryocore.config.base import FileName, Positive, Section
from cryocore.config.plant import ErrorShares

CLASSIFIERS = ("logistic", "boosting", "cnn")
"""Models that a run can make itself."""


class Classify(Section):
    """A classifier on residual images whose probability is one more score."""

    model: FileName = Field(default="none", description="none, logistic, boosting, cnn (needs torch), or a folder")
    start: FileName | None = Field(
        default=None, description="cnn: folder of a model to fine-tune; null: learn from nothing"
    )
    labels: Literal["planted", "probable"] = Field(
        default="planted", description="errors made on purpose, or what is probably correct"
    )
    n_training: int = Field(
        default=1000, ge=50, description="particles per half set to learn from, in no map meanwhile"
    )
    n_folds: int = Field(
        default=3, ge=3, le=20, description="parts of the micrographs; models score those they have not seen"
    )
    image_size: int = Field(
        default=64, ge=16, le=256, description="side of the images in pixels, cnn: at most 160; finer detail is cut off"
    )
    n_epochs: int = Field(default=40, ge=1, le=999, description="cnn: passes over the training set, at most")
    patience: int = Field(default=8, ge=1, description="cnn: epochs without a lower loss to stop after")
    batch_size: int = Field(default=64, ge=2, description="cnn: images per step")
    learning_rate: Positive | None = Field(
        default=None, description="cnn: the highest one; null: 0.001, or 0.0003 from a start"
    )
    errors: ErrorShares = Field(
        default=ErrorShares(wrong_pose=0.4, local_pose=0.2, wrong_shift=0.2, junk=0.2),
        description="planted: kinds and shares",
    )

    @model_validator(mode="after")
    def _networks_go_on(self) -> Classify:
        if self.start is not None and self.model != "cnn":
            raise ValueError("start: only a network goes on learning; set model to cnn, or leave start out")
        return self

    @model_validator(mode="after")
    def _errors_to_learn(self) -> Classify:
        if self.errors.total == 0.0:
            raise ValueError("errors: name at least one kind of error to learn from")
        return self
