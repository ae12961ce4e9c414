"""A STAR file with every symmetry symmetry equivalent of its particles, for a reconstruction that does not know the
symmetry."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cryocore.conventions import euler_to_matrix
from cryocore.geometry.rotations import matrix_to_euler
from cryocore.geometry.symmetry import point_group

ANGLES = ("_rlnAngleRot", "_rlnAngleTilt", "_rlnAnglePsi")


def write_expanded(parent: Path, symmetry: str, out: Path, *, half: int) -> None:
    """Repeat every particle of one half set, as :mod:`cryocore.simulate.stage` writes them, at all of its symmetry
    equivalents."""
    lines = parent.read_text().splitlines()
    start = lines.index("data_particles")
    labels = [line.split()[0] for line in lines[start:] if line.startswith("_")]
    at = [labels.index(name) for name in ANGLES]
    head = [line for line in lines if "@" not in line]
    rows = [line.split() for line in lines if "@" in line]
    rows = [row for row in rows if int(row[labels.index("_rlnRandomSubset")]) == half]
    angles = np.array([[float(row[i]) for i in at] for row in rows])
    rotations = euler_to_matrix(*angles.T)
    with out.open("w") as file:
        file.writelines(f"{line}\n" for line in head)
        for operator in point_group(symmetry):
            for row, turned in zip(rows, matrix_to_euler(rotations @ operator), strict=True):
                new = list(row)
                for i, angle in zip(at, turned, strict=True):
                    new[i] = f"{angle:.6f}"
                file.write(" ".join(new) + "\n")
