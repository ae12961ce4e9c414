"""The settings of a run: this model, summed up from those of its stages, is ``config.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from cryocore.config.base import Section
from cryocore.config.checks import checked
from cryocore.config.classify import Classify
from cryocore.config.input import Input
from cryocore.config.plant import PlantedErrors
from cryocore.config.refine import Refine
from cryocore.config.score import Score
from cryocore.config.select import Select
from cryocore.config.simulate import MOLECULE_GROUPS
from cryocore.config.solve import Solve
from cryocore.log.names import PROBABILITY

__all__ = ["Config", "parse_config"]


class Config(Section):
    """A run."""

    run: str = Field(
        default="demo",
        max_length=100,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="results go to results/<run>",
    )
    n_rounds: int = Field(default=3, ge=1, le=99, description="selections; round 0 is the map of everything")
    symmetry: str = Field(default="D7", pattern=r"^([CcDd][1-9][0-9]*|[TtOo]|[Ii][1-4]?)$", description="point group")
    seed: int = Field(
        default=0, ge=0, le=10**9, description="of everything random; the same seed gives the same data everywhere"
    )
    backend: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: the GPU where there is one")
    n_shards: int = Field(
        default=1, ge=1, le=500, description="parts of the data that are summed and scored by a job each"
    )
    audit: bool = Field(
        default=False, description="ask a referee's questions of the recommended list when the run is done"
    )
    input: Input = Field(
        default=Input(plant=PlantedErrors(wrong_pose=0.3)), description="where the particles come from"
    )
    reconstruct: Solve = Field(default=Solve(), description="from particles to half maps")
    score: Score = Field(default=Score(), description="from maps to the loss of every particle")
    classify: Classify = Field(default=Classify(), description="a classifier on residual images, if there is to be one")
    select: Select = Field(default=Select(), description="from losses to the particles of the next round")
    refine: Refine = Field(default=Refine(), description="poses refined anew by RELION, when the run is done")

    @model_validator(mode="after")
    def _one_mask(self) -> Config:
        if self.score.region is not None and self.reconstruct.mask is not None:
            raise ValueError("score.region is the mask of all rounds: leave reconstruct.mask out")
        return self

    @model_validator(mode="after")
    def _shards_have_particles(self) -> Config:
        if self.input.star is None and self.n_shards > self.input.simulate.n_particles:
            raise ValueError(f"n_shards: {self.input.simulate.n_particles} particles are fewer; use less")
        return self

    @model_validator(mode="after")
    def _folds_are_not_sharded(self) -> Config:
        if self.n_shards > 1 and self.score.leave_one_out == "folds":
            raise ValueError("n_shards: folds are of all particles at once; use 1, or leave_one_out: closed_form")
        return self

    @model_validator(mode="after")
    def _symmetry_is_a_choice(self) -> Config:
        if self.input.star is not None and "symmetry" not in self.model_fields_set:
            raise ValueError("symmetry: say which point group the particles of input.star have (C1 for none)")
        return self

    @model_validator(mode="after")
    def _the_molecule_has_the_symmetry(self) -> Config:
        made = self.input.simulate
        groups = MOLECULE_GROUPS[made.molecule]
        if self.input.star is None and made.volume is None and self.symmetry.upper() not in groups:
            raise ValueError(
                f"the molecule {made.molecule} has not the point group {self.symmetry}; use {' or '.join(groups)}"
            )
        return self

    @model_validator(mode="after")
    def _probabilities_have_a_classifier(self) -> Config:
        if self.classify.model == "none" and self.select.score == PROBABILITY:
            raise ValueError(
                "select: probability needs a classifier; set classify.model to logistic, boosting, cnn or a folder"
            )
        return self

    @model_validator(mode="after")
    def _score_has_its_poses(self) -> Config:
        score = self.score
        if (
            self.select.score == "dual"
            and score.n_random_poses + score.n_perturbed_poses + score.n_perturbed_shifts == 0
        ):
            raise ValueError(
                "select.score: dual needs score.n_random_poses, n_perturbed_poses or n_perturbed_shifts of at least 1"
            )
        needed = {
            "contrast": ("n_random_poses", 2),
            "local": ("n_perturbed_poses", 1),
            "shift": ("n_perturbed_shifts", 1),
        }
        name, least = needed.get(self.select.score, ("n_random_poses", 0))
        if getattr(self.score, name) < least:
            raise ValueError(f"select.score: {self.select.score} needs score.{name} of at least {least}")
        return self


def parse_config(values: dict[str, Any], *, file: str | Path | None = None) -> Config:
    """Check ``values`` and fill in the defaults; every fault is named with its key."""
    return checked(Config, values, file=file)
