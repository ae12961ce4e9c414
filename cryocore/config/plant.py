"""Errors that are made on purpose."""

from __future__ import annotations

from pydantic import Field, model_validator

from cryocore.config.base import Range, Rate, Section


class ErrorShares(Section):
    """Shares of the particles that are made incorrect on purpose; at most 1 together."""

    wrong_pose: Rate = Field(default=0.0, description="pose replaced by a uniformly random rotation")
    local_pose: Rate = Field(default=0.0, description="pose turned by local_angle_deg about a random axis")
    wrong_shift: Rate = Field(default=0.0, description="shift moved by wrong_shift_angstrom in a random direction")
    junk: Rate = Field(default=0.0, description="image replaced by noise of the same power")
    local_angle_deg: Range = Field(default=(5.0, 20.0), description="range of the angles")
    wrong_shift_angstrom: Range = Field(default=(10.0, 30.0), description="range of the distances")

    @property
    def total(self) -> float:
        """Share of particles that are incorrect in any way."""
        return self.wrong_pose + self.local_pose + self.wrong_shift + self.junk

    @model_validator(mode="after")
    def _at_most_everything(self) -> ErrorShares:
        if self.total > 1.0:
            raise ValueError(f"the rates add up to {self.total:g}; they may not exceed 1")
        return self


class PlantedErrors(ErrorShares):
    """Shares of the particles that are made incorrect on purpose, at most 1 together, and of those there twice."""

    duplicate: float = Field(
        default=0.0, ge=0.0, le=0.5, description="in simulations: image cut beside that of a correct particle"
    )
    duplicate_angstrom: Range = Field(default=(10.0, 20.0), description="range of how far beside")
