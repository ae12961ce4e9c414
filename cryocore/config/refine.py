"""Poses refined anew when a run is done, by RELION."""

from __future__ import annotations

from pydantic import Field

from cryocore.config.base import Positive, Section


class Refine(Section):
    """The map after: all particles and the recommended ones, their poses refined anew from the same start."""

    enabled: bool = Field(default=False, description="refine poses anew with RELION when the run is done")
    program: str = Field(
        default="mpirun -n 3 relion_refine_mpi",
        min_length=1,
        description="RELION's refinement, of any version, with three processes or more",
    )
    low_pass_angstrom: Positive = Field(default=30.0, description="resolution of the map that both begin with")
    healpix_order: int = Field(
        default=4, ge=3, le=7, description="of the search about the given poses; 4: steps of 3.7 degrees, 5: of 1.8"
    )
    shift_range_angstrom: Positive = Field(default=10.0, description="range of shifts about the given ones")
    options: str | None = Field(default=None, description="more options of RELION, as --preread_images; they win")
