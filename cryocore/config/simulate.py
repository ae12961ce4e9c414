"""A synthetic data set."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cryocore.config.base import FileName, Positive, Range, Rate, Section

MOLECULE_GROUPS = {"proteasome": ("D7", "C7", "C1"), "channel": ("C4", "C2", "C1"), "small": ("C1",)}
"""The point group of each simulated molecule, and those contained in it."""


class Simulate(Section):
    """A synthetic data set."""

    molecule: Literal["proteasome", "channel", "small"] = Field(
        default="proteasome", description="of pseudo-atoms; point groups D7, C4, C1"
    )
    bfactor_angstrom2: float = Field(
        default=150.0, ge=0.0, description="fall-off exp(-B s²/4) of the molecule's transform"
    )
    second_state: Literal["missing", "turned", "broken"] = Field(
        default="missing", description="a fifth of each asymmetric unit, or of one"
    )
    second_share: Rate = Field(default=0.0, description="share of the images that show the second state")
    volume: FileName | None = Field(default=None, description="MRC map to use instead of a molecule")
    n_particles: int = Field(default=4000, ge=2, le=10**8, description="number of images")
    box: int = Field(default=96, ge=16, le=2048, multiple_of=2, description="side of an image in pixels; even")
    pixel_size_angstrom: Positive = Field(default=2.2, description="Nyquist resolution is twice this")
    snr: Positive = Field(
        default=0.01, description="signal variance / noise variance per pixel inside the particle's disc"
    )
    orientations: Literal["uniform", "preferred", "single"] = Field(
        default="preferred", description="viewing directions; single: 95 % along z"
    )
    poses: FileName | None = Field(
        default=None, description="particles from whose viewing directions they are drawn instead"
    )
    micrographs: FileName | None = Field(
        default=None, description="particles whose micrographs and defoci are drawn instead of made"
    )
    noise: Literal["white", "coloured"] = Field(
        default="white", description="coloured noise is stronger at low resolution"
    )
    background_images: FileName | None = Field(
        default=None, description="stack of particle-free images that noise is cropped from"
    )
    scale_spread: float = Field(
        default=0.0, ge=0.0, description="standard deviation of the logarithm of images' scales"
    )
    micrograph_scale_spread: float = Field(
        default=0.0, ge=0.0, description="standard deviation of the logarithm of micrographs' signal"
    )
    micrograph_bfactor_sd_angstrom2: float = Field(
        default=0.0, ge=0.0, description="standard deviation of micrographs' B-factors"
    )
    particle_bfactor_sd_angstrom2: float = Field(
        default=0.0, ge=0.0, description="standard deviation of what particles add to these"
    )
    bfactor_law: Literal["normal", "uniform", "two_valued"] = Field(
        default="normal", description="of both; the others begin at 0"
    )
    weak: Rate = Field(default=0.0, description="share of the correct particles with 0.3 times the signal")
    neighbours: Rate = Field(default=0.0, description="share of the images with a second molecule at the edge")
    beads: Rate = Field(default=0.0, description="share of the images with a gold bead")
    bead_angstrom: Positive = Field(default=100.0, description="diameter of beads")
    bead_contrast: float = Field(
        default=10.0, description="height of beads, in standard deviations of the noise; negative: dark"
    )
    pose_jitter_deg: float = Field(
        default=0.0, ge=0.0, description="correct poses turned by this times t of 3 degrees of freedom"
    )
    wrong_defocus: Rate = Field(
        default=0.0, description="share of the micrographs recorded 3000 to 8000 Å too high in defocus"
    )
    background: float = Field(
        default=0.0, ge=0.0, description="standard deviation of linear gradients, in that of the noise"
    )
    shift_angstrom: float = Field(default=4.0, ge=0.0, description="standard deviation of the true shifts")
    defocus_angstrom: Range = Field(default=(8000.0, 22000.0), description="range; underfocus is positive")
    astigmatism_angstrom: float = Field(default=300.0, ge=0.0, description="largest defocus U - V")
    voltage_kv: Positive = Field(default=300.0, description="of the microscope")
    cs_mm: float = Field(default=2.7, ge=0.0, description="spherical aberration")
    amplitude_contrast: Rate = Field(default=0.1, description="as a fraction")
    n_micrographs: int = Field(default=40, ge=1, le=10**6, description="micrographs that the particles come from")
    half_precision: bool = Field(default=False, description="write float16 stacks (MRC mode 12)")

    @model_validator(mode="after")
    def _states_are_of_molecules(self) -> Simulate:
        if self.second_share and self.volume is not None:
            raise ValueError("second_share: a volume has no second state; use a molecule, or 0")
        return self
