"""Where the particles come from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cryocore.config.base import FileName, FileNames, Positive, Rate, Section
from cryocore.config.plant import PlantedErrors
from cryocore.config.simulate import Simulate


class Input(Section):
    """Where the particles come from: a file of them, or a simulation when there is none."""

    star: FileNames | None = Field(
        default=None, description="RELION STAR, cryoSPARC .cs or THUNDER .thu file, or a list of files"
    )
    passthrough: FileName | None = Field(
        default=None, description="passthrough file of a .cs file (default: found beside it)"
    )
    root: FileName | None = Field(
        default=None,
        description="directory that image paths start from (default: found above the file)",
    )
    pixel_size_angstrom: Positive | None = Field(default=None, description="overrides the file's; null: read it")
    class_number: int | None = Field(
        default=None,
        alias="class",
        ge=0,
        description="read this class alone, counted as in the file (.cs: from 0); null: all",
    )
    copies: Literal["auto", "keep", "remove"] = Field(
        default="auto", description="of an image; auto: those of symmetry expansion"
    )
    min_distance_angstrom: Positive | None = Field(
        default=None, description="of particles closer than this on a micrograph the first is read"
    )
    duplicate_share: Rate = Field(
        default=0.1, description="of the image's side: what is closer is reported, as picked twice"
    )
    truth: FileName | None = Field(
        default=None, description="Parquet table with particle_id and is_correct, where the truth is known"
    )
    true_map: FileName | None = Field(default=None, description="MRC map of the truth, where it is known")
    simulate: Simulate = Field(default=Simulate(), description="the data set that is made when star is null")
    cache: bool = Field(
        default=False, description="keep compact transforms of the images: for many rounds on a slow disk"
    )
    scratch: FileName | None = Field(
        default=None,
        description="keep what is read of images on a local disk: /scratch/$SLURM_JOB_ID",
    )
    plant: PlantedErrors = Field(
        default=PlantedErrors(), description="errors made on purpose, in simulated or real particles"
    )

    @property
    def files(self) -> tuple[str, ...]:
        """The files of particles; none where they are simulated."""
        return () if self.star is None else (self.star,) if isinstance(self.star, str) else tuple(self.star)

    @model_validator(mode="after")
    def _one_truth(self) -> Input:
        if self.passthrough and not (len(self.files) == 1 and self.files[0].lower().endswith(".cs")):
            raise ValueError("passthrough: only a single cryoSPARC .cs file has one")
        if self.star is None and (self.truth or self.true_map):
            raise ValueError("a simulation knows its own truth: truth and true_map need a star")
        if self.truth and self.plant.total > 0.0:
            raise ValueError("planted errors make their own truth: give truth or plant, not both")
        if self.star and self.plant.duplicate > 0.0:
            raise ValueError("plant.duplicate: images of a file cannot be cut anew; duplicates are simulated only")
        return self
