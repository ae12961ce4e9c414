"""Procedural molecules: pseudo-atoms with the fall-off of real ones, in point groups that real ones have.

A subunit is a compact self-avoiding chain of residues, each a handful of atoms, grown inside an ellipsoid. The
assemblies are a 20S-proteasome-like barrel of four rings of seven subunits (``proteasome``, D7), a tetrameric
ion-channel-like molecule (``channel``, C4) and a single lopsided protein (``small``, C1).

A chain is a row of choices, each on the ones before: it is grown on a grid of integers, with nothing but sums,
products, quotients and roots of single numbers, whose rounding IEEE 754 fixes, so that every machine grows the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cryocore.geometry.rotations import rotations_by_angle
from cryocore.geometry.symmetry import point_group
from cryocore.types import Floats, Floats32, Ints

RESIDUE_STEP_ANGSTROM = 3.8
STEPS_PER_ANGSTROM = 1000
"""Of the grid on which chains grow and atoms sit."""
ATOMS_PER_RESIDUE = 8
SYMMETRY = {"proteasome": "D7", "channel": "C4", "small": "C1"}
DOMAIN_SHARE = 0.2
"""Of the atoms of an asymmetric unit, those that a second state lacks, or has elsewhere."""
DOMAIN_TURN_DEG = 25.0
HINGE_ANGSTROM = 4.0
"""Half the thickness of the layer of atoms about whose middle a domain turns."""


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


def molecule_atoms(name: str) -> Floats:
    """Coordinates (Å) of all pseudo-atoms of a molecule, ``(n, 3)`` as (x, y, z), centred on its symmetry axes."""
    return _assembled(name, _unit_atoms(name))


def second_state_atoms(name: str, kind: str) -> Floats:
    """The atoms of a molecule's second state, ``(n, 3)``.

    Parameters
    ----------
    name : of the molecule
    kind : ``missing``, without the domain of each asymmetric unit; ``turned``, with the domain turned by
        ``DOMAIN_TURN_DEG`` about the middle of the plane that cuts it off; ``broken``, without that of one unit
    """
    unit = _unit_atoms(name)
    towards = np.array(SUBUNITS[name][-1].centre) - unit.mean(axis=0)
    towards /= np.linalg.norm(towards)
    height = unit @ towards
    cut = float(np.quantile(height, 1.0 - DOMAIN_SHARE))
    domain = height > cut
    if kind == "turned":
        thin = np.abs(height - cut) < HINGE_ANGSTROM
        hinge = unit[thin].mean(axis=0)
        axis = np.cross(towards, [0.0, 0.0, 1.0])
        turn = rotations_by_angle(axis[None], np.array([DOMAIN_TURN_DEG]))[0]
        moved = unit.copy()
        moved[domain] = (unit[domain] - hinge) @ turn.T + hinge
        return _assembled(name, moved)
    whole = _assembled(name, unit)
    kept = np.ones(len(whole), dtype=bool)
    units = len(whole) // len(unit)
    kept[np.flatnonzero(np.tile(domain, units))[: None if kind == "missing" else int(domain.sum())]] = False
    return whole[kept]


def _unit_atoms(name: str) -> Floats:
    """Atoms (Å) of the first asymmetric unit."""
    rng = np.random.default_rng([len(name), *name.encode()])
    unit = np.concatenate([_subunit_atoms(s, rng) for s in SUBUNITS[name]])
    if name == "small":
        unit -= _on_grid(unit.mean(axis=0))
    return unit / STEPS_PER_ANGSTROM


def _assembled(name: str, unit: Floats) -> Floats:
    """All asymmetric units of a molecule, one after the other, from the first."""
    x, y, z = unit.T
    # symmetry equivalents of a pose are A g, so that the molecule is invariant under its group's rotations of the
    # object
    group = np.round(point_group(SYMMETRY[name]), 12)  # the last bit of a sine depends on the processor
    equivalents = [[x * row[0] + y * row[1] + z * row[2] for row in g] for g in group]
    return np.concatenate([np.stack(operator, axis=1) for operator in equivalents])


def _subunit_atoms(subunit: Subunit, rng: np.random.Generator) -> Ints:
    """Atoms ``(n, 3)`` in steps of the grid, of a chain through the ellipsoid.

    Each residue is one step on: of eight trials the first of those that stay inside and keep clear of the earlier ones.
    """
    axes = np.array(subunit.semi_axes) * STEPS_PER_ANGSTROM
    step = round(RESIDUE_STEP_ANGSTROM * STEPS_PER_ANGSTROM)
    chain = np.zeros((subunit.residues, 3), dtype=np.int64)
    direction = np.array([1.0, 0.0, 0.0])
    for i in range(1, subunit.residues):
        trials = direction + 0.9 * rng.normal(size=(8, 3))
        trials /= _length(trials)[:, None]
        places = chain[i - 1] + _on_grid(step * trials)
        squares = ((places[:, None] - chain[None, : i - 1]) ** 2).sum(axis=2)
        gaps = np.sqrt(np.min(squares, axis=1, initial=step**2))
        outside = np.maximum(_length(places / axes) - 1.0, 0.0)
        best = int(np.argmin(_on_grid(40.0 * outside * STEPS_PER_ANGSTROM - gaps)))
        chain[i], direction = places[best], trials[best]
    atoms = chain[:, None] + _on_grid(
        1.7 * STEPS_PER_ANGSTROM * rng.normal(size=(subunit.residues, ATOMS_PER_RESIDUE, 3))
    )
    return atoms.reshape(-1, 3) + _on_grid(np.array(subunit.centre) * STEPS_PER_ANGSTROM)


def _on_grid(values: Floats) -> Ints:
    return np.rint(values).astype(np.int64)


def _length(vectors: Floats) -> Floats:
    """Of vectors ``(n, 3)``; ``np.linalg.norm`` sums in an order that depends on the processor."""
    return np.sqrt(vectors[:, 0] ** 2 + vectors[:, 1] ** 2 + vectors[:, 2] ** 2)


def density_map(atoms: Floats, *, box: int, pixel_size_angstrom: float, bfactor: float) -> Floats32:
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
