"""Poses refined anew when a run is done, by RELION."""

from __future__ import annotations

import shlex
from typing import Annotated

from pydantic import AfterValidator, Field

from cryocore.config.base import Positive, Section


def _as_words(value: str) -> str:
    """Text that a shell would split into one word or more."""
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError(f"{value!r:.80}: {error}") from None
    if not words:
        raise ValueError("it is blank")
    return value


ShellWords = Annotated[str, AfterValidator(_as_words)]


class Refine(Section):
    """The map after: all particles and the recommended ones, their poses refined anew from the same start."""

    enabled: bool = Field(default=False, description="refine poses anew with RELION when the run is done")
    program: ShellWords = Field(
        default="mpirun -n 3 relion_refine_mpi",
        description="RELION's refinement, of any version, with three processes or more",
    )
    low_pass_angstrom: Positive = Field(default=30.0, description="resolution of the map that both begin with")
    healpix_order: int = Field(
        default=4, ge=3, le=7, description="of the search about the given poses; 4: steps of 3.7 degrees, 5: of 1.8"
    )
    shift_range_angstrom: Positive = Field(default=10.0, description="range of shifts about the given ones")
    options: ShellWords | None = Field(
        default=None, description="more options of RELION, as --preread_images; they win"
    )
