"""Procedural molecules: pseudo-atoms with the fall-off of real ones, in point groups that real ones have.

A subunit is a compact self-avoiding chain of residues, each a handful of atoms, grown inside an ellipsoid. The
assemblies are a 20S-proteasome-like barrel of four rings of seven subunits (``proteasome``, D7), a tetrameric
ion-channel-like molecule (``channel``, C4) and a single lopsided protein (``small``, C1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryocore.geometry.rotations import random_rotations
from cryocore.geometry.symmetry import point_group
from cryocore.imaging.volumes import Floats32

Array = NDArray[np.float64]

RESIDUE_STEP_ANGSTROM = 3.8
ATOMS_PER_RESIDUE = 8
SYMMETRY = {"proteasome": "D7", "channel": "C4", "small": "C1"}


@dataclass(frozen=True)
class Subunit:
    """One chain: where its ellipsoid sits (Å, before symmetry), its semi-axes and number of residues."""

    centre: tuple[float, float, float]
    semi_axes: tuple[float, float, float]
    residues: int


SUBUNITS = {
    "proteasome": (
        Subunit((36.0, 0.0, 57.0), (20.0, 15.0, 19.0), 225),
        Subunit((37.0, 12.0, 20.0), (19.0, 15.0, 19.0), 205),
    ),
    "channel": (
        Subunit((22.0, 0.0, 28.0), (15.0, 14.0, 24.0), 230),
        Subunit((29.0, 13.0, -13.0), (17.0, 14.0, 18.0), 190),
        Subunit((14.0, 8.0, -36.0), (12.0, 11.0, 12.0), 90),
    ),
    "small": (
        Subunit((8.0, 4.0, 14.0), (24.0, 19.0, 22.0), 330),
        Subunit((-12.0, -8.0, -18.0), (18.0, 16.0, 17.0), 190),
        Subunit((18.0, -12.0, -14.0), (12.0, 11.0, 16.0), 90),
    ),
}


def molecule_atoms(name: str) -> Array:
    """Coordinates (Å) of all pseudo-atoms of a molecule, ``(n, 3)`` as (x, y, z), centred on its symmetry axes."""
    rng = np.random.default_rng([len(name), *name.encode()])
    unit = np.concatenate([_subunit_atoms(s, rng) for s in SUBUNITS[name]])
    if name == "small":
        unit -= unit.mean(axis=0)
    # mates of a pose are A g, so that the molecule is invariant under its group's rotations of the object
    return np.concatenate([unit @ g.T for g in point_group(SYMMETRY[name])])


def _subunit_atoms(subunit: Subunit, rng: np.random.Generator) -> Array:
    """A chain through the ellipsoid: each residue one step on, as clear of the earlier ones as eight trials allow."""
    axes, turn = np.array(subunit.semi_axes), random_rotations(1, rng)[0]
    chain = np.zeros((subunit.residues, 3))
    direction = turn[0]
    for i in range(1, subunit.residues):
        trials = direction + 0.9 * rng.normal(size=(8, 3))
        steps = chain[i - 1] + RESIDUE_STEP_ANGSTROM * trials / np.linalg.norm(trials, axis=1, keepdims=True)
        gaps = np.linalg.norm(steps[:, None] - chain[None, max(0, i - 400) : i], axis=2).min(axis=1)
        outside = np.maximum(np.linalg.norm(steps / axes, axis=1) - 1.0, 0.0)
        best = int(np.argmin(40.0 * outside - np.minimum(gaps, 5.0)))
        chain[i], direction = steps[best], trials[best] / np.linalg.norm(trials[best])
    atoms = chain[:, None] + 1.7 * rng.normal(size=(subunit.residues, ATOMS_PER_RESIDUE, 3))
    return atoms.reshape(-1, 3) + np.array(subunit.centre)


def density_map(atoms: Array, *, box: int, pixel_size_angstrom: float, bfactor: float) -> Floats32:
    """The map ``(box, box, box)`` of atoms ``(n, 3)`` in Å, each a Gaussian exp(-B s²/4), B in Å², in Fourier space.

    Atoms are spread over the grid with a narrow Gaussian that the Fourier transform then replaces by the wanted
    one, so that the map is right up to Nyquist.
    """
    import scipy.fft

    width, reach = 0.9, 4
    grid = np.zeros((box,) * 3)
    position = atoms / pixel_size_angstrom + box // 2
    base = np.rint(position).astype(int)
    kept = np.all((base >= reach) & (base < box - reach), axis=1)
    position, base = position[kept], base[kept]
    offsets = np.arange(-reach, reach + 1)
    lines = np.exp(-0.5 * ((base[:, :, None] + offsets - position[:, :, None]) / width) ** 2)
    flat = grid.reshape(-1)
    for dz in range(len(offsets)):
        for dy in range(len(offsets)):
            row = ((base[:, 2] + offsets[dz]) * box + base[:, 1] + offsets[dy]) * box + base[:, 0]
            amount = lines[:, 2, dz] * lines[:, 1, dy]
            for dx in range(len(offsets)):
                np.add.at(flat, row + offsets[dx], amount * lines[:, 0, dx])
    s = np.fft.fftfreq(box)
    squared = s[:, None, None] ** 2 + s[None, :, None] ** 2 + np.fft.rfftfreq(box)[None, None, :] ** 2
    spread = np.exp(-2 * np.pi**2 * width**2 * squared) * (2 * np.pi * width**2) ** 1.5
    wanted = np.exp(-0.25 * bfactor * squared / pixel_size_angstrom**2)
    spectrum = scipy.fft.rfftn(grid) * np.where(squared <= 0.25, wanted / spread, 0.0)
    return np.asarray(scipy.fft.irfftn(spectrum, s=grid.shape), dtype=np.float32)


def molecule_map(name: str, *, box: int, pixel_size_angstrom: float, bfactor: float) -> Floats32:
    """The map of a procedural molecule."""
    return density_map(molecule_atoms(name), box=box, pixel_size_angstrom=pixel_size_angstrom, bfactor=bfactor)
