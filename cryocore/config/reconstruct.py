"""Half maps by Fourier inversion."""

from __future__ import annotations

from pydantic import Field

from cryocore.config.base import FileName, Positive, Section

LARGE_SUMS_BYTES = 8 << 30
"""Sums of both half sets that take more are made one after the other: from box 448 on at padding 2."""
ITERATIVE_PADDED_BYTES, ITERATIVE_BYTES = 52, 128
"""Of the iterative method, per voxel of the padded grid and of the map; measured on the CPU."""


class Reconstruct(Section):
    """From particles to half maps."""

    padding: float = Field(default=2.0, ge=1.0, le=3.0, description="Fourier oversampling; memory grows with its cube")
    mask: FileName | None = Field(default=None, description="MRC mask, 0 to 1; null: made from the first map")
    full_every: int = Field(
        default=4,
        ge=1,
        description="rounds from one full reconstruction to the next; others are incremental",
    )
    max_resolution_angstrom: Positive | None = Field(
        default=None, description="finer detail is left out; null: Nyquist"
    )
