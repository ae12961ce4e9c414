"""From maps to the loss of every particle."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cryocore.config.base import FileName, PerRound, Positive, Range, Section


class Score(Section):
    """From maps to the loss of every particle. A list gives one value per round, from round 0; its last one stays."""

    n_bands: int = Field(default=24, ge=4, le=64, description="resolution bands in the log")
    cryosieve_angstrom: Annotated[list[Positive], PerRound] = Field(
        default=[40.0], min_length=1, description="high-pass cut-off of CryoSieve's score"
    )
    region: FileName | None = Field(
        default=None, description="mask of a part of the molecule to judge by; the rest is subtracted"
    )
    leave_one_out: Literal["closed_form", "folds"] = Field(
        default="closed_form", description="how a particle is kept from scoring itself"
    )
    n_folds: int = Field(
        default=5, ge=2, le=64, description="folds: parts of a half set, each scored by the map of the others"
    )
    noise: Literal["optics_group", "micrograph"] = Field(
        default="optics_group", description="what shares a noise spectrum"
    )
    noise_per_particle: bool = Field(default=True, description="scale it by each particle's own residual")
    n_random_poses: int = Field(default=8, ge=0, description="random poses per particle")
    n_perturbed_poses: int = Field(default=8, ge=0, description="perturbed poses per particle")
    perturbed_angle_deg: Range = Field(default=(3.0, 15.0), description="how far they are turned")
    n_perturbed_shifts: int = Field(default=8, ge=0, description="perturbed shifts per particle")
    perturbed_shift_angstrom: Range = Field(default=(3.0, 15.0), description="how far they are moved")

    @model_validator(mode="after")
    def _region_and_folds(self) -> Score:
        if self.region is not None and self.leave_one_out == "folds":
            raise ValueError("region: what is beside it is not made fold by fold; use leave_one_out: closed_form")
        return self
