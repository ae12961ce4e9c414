"""Where the particles come from."""

from __future__ import annotations

from pydantic import Field, model_validator

from cryocore.config.base import FileName, Positive, Section
from cryocore.config.plant import PlantedErrors
from cryocore.config.simulate import Simulate


class Input(Section):
    """Where the particles come from: a file of them, or a simulation when there is none."""

    star: FileName | None = Field(
        default=None, description="RELION STAR, cryoSPARC .cs or THUNDER .thu file of particles"
    )
    passthrough: FileName | None = Field(
        default=None, description="passthrough file of a .cs file (default: found beside it)"
    )
    root: FileName | None = Field(
        default=None, description="directory that image paths start from (default: found by looking)"
    )
    pixel_size_angstrom: Positive | None = Field(default=None, description="overrides the file's; null: read it")
    truth: FileName | None = Field(
        default=None, description="Parquet table with particle_id and is_correct, where the truth is known"
    )
    true_map: FileName | None = Field(default=None, description="MRC map of the truth, where it is known")
    simulate: Simulate = Field(default=Simulate(), description="the data set that is made when star is null")
    cache: bool = Field(
        default=False, description="keep compact transforms of the images: for many rounds on a slow disk"
    )
    plant: PlantedErrors = Field(
        default=PlantedErrors(), description="errors made on purpose, in simulated or real particles"
    )

    @model_validator(mode="after")
    def _one_truth(self) -> Input:
        if self.passthrough and not (self.star or "").lower().endswith(".cs"):
            raise ValueError("passthrough: only a cryoSPARC .cs file has one")
        if self.star is None and (self.truth or self.true_map):
            raise ValueError("a simulation knows its own truth: truth and true_map need a star")
        if self.truth and self.plant.total > 0.0:
            raise ValueError("planted errors make their own truth: give truth or plant, not both")
        return self
