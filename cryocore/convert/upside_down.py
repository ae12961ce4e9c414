"""Particles as they are on micrographs that are upside down.

The programs read the rows of TIFF and EER movies in opposite orders, so that of one movie RELION and MotionCor2 make a
micrograph that is the mirror image of cryoSPARC's, row by row.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cryocore.errors import InputError
from cryocore.formats.cs import ANGLES, COORDINATES, ORIGINS, ORIGINS_PIXEL
from cryocore.formats.star import StarTables
from cryocore.formats.star.read import to_numbers
from cryocore.geometry.rotations import matrix_to_euler, quaternion_to_matrix
from cryocore.ingest.columns import Columns
from cryocore.ingest.particles import quaternions_of
from cryocore.types import Floats

NEGATED = (ORIGINS[1], ORIGINS_PIXEL[1], "rlnDefocusAngle", "rlnBeamTiltY", "rlnMagMat01", "rlnMagMat10")
"""What changes its sign with y."""


def upside_down(columns: Columns, height: Floats | None) -> StarTables:
    """The particles with y counted from the last row of their micrographs, ``height`` ``(n,)`` rows.

    An image that is mirrored shows the same object, turned about x by 180 degrees before it is projected: what lies
    in front and what behind makes no difference to a projection.

    Raises
    ------
    InputError  if the particles have coordinates and the height is None.
    """
    tables = columns.tables
    particles, optics = tables.particles.copy(), tables.optics
    for label in NEGATED:
        if label in particles:
            particles[label] = 0.0 - to_numbers(particles[label])
        if optics is not None and label in optics:
            optics = optics.assign(**{label: 0.0 - to_numbers(optics[label])})
    if all(columns.has(label) for label in ANGLES):
        turned = quaternion_to_matrix(quaternions_of(columns)) * np.array([1.0, -1.0, -1.0])[:, None]
        for label, angles in zip(ANGLES, matrix_to_euler(turned).T, strict=True):
            particles[label] = angles
    label = COORDINATES[1]
    if columns.has(label):
        if height is None:
            problem = "coordinates cannot be turned without the size of the micrographs"
            raise InputError(problem, file=tables.path, column=columns.name(label), fix="Leave --flip-y out")
        particles[label] = height - 1.0 - columns.numbers(label)
    return replace(tables, particles=particles, optics=optics)
