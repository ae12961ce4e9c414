"""Molecules: the same atoms on every machine, in the point group and the size that they are said to have."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from cryocore.geometry.symmetry import point_group
from cryocore.simulate.molecules import RESIDUE_STEP_ANGSTROM, SUBUNITS, SYMMETRY, _subunit_atoms, molecule_atoms

ATOMS = {"proteasome": "e02f3fface08", "channel": "fe6b302e17e9", "small": "be826097c504"}
"""First digits of the SHA-256 of the coordinates, float64, of each molecule."""


@pytest.mark.parametrize("name", SYMMETRY)
def test_atoms_are_the_same_bytes_on_every_machine(name: str) -> None:
    assert hashlib.sha256(molecule_atoms(name).tobytes()).hexdigest()[:12] == ATOMS[name]


@pytest.mark.parametrize("name", SYMMETRY)
def test_atoms_are_invariant_under_the_point_group(name: str) -> None:
    group, atoms = point_group(SYMMETRY[name]), molecule_atoms(name)
    units = atoms.reshape(len(group), -1, 3)
    for operator, unit in zip(group, units, strict=True):
        assert np.abs(units[0] @ operator.T - unit).max() < 1e-9


def test_chains_stay_inside_and_clear_of_themselves() -> None:
    """Residues are means of eight atoms 1.7 Å about them: 0.6 Å each way, of which a chain shows little."""
    subunit = SUBUNITS["proteasome"][0]
    atoms = _subunit_atoms(subunit, np.random.default_rng(0)) / 1000 - subunit.centre
    residues = atoms.reshape(subunit.residues, -1, 3).mean(axis=1)
    inside = np.linalg.norm(residues / subunit.semi_axes, axis=1)
    assert np.quantile(inside, 0.99) < 1.15
    step = np.linalg.norm(np.diff(residues, axis=0), axis=1)
    assert np.sqrt(np.mean(step**2)) == pytest.approx(np.hypot(RESIDUE_STEP_ANGSTROM, 1.7 * np.sqrt(6 / 8)), rel=0.1)
    apart = np.linalg.norm(residues[:, None] - residues[None], axis=2)[np.triu_indices(len(residues), 2)]
    assert np.mean(apart < 2.5) < 2e-3
