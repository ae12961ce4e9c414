"""Parts of a map, missing or turned."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.explore.states.templates import CENTRES, SHARES, TILTS, Density, centres, symmetric, templates, turned
from cryocore.geometry.symmetry import point_group
from cryocore.maps.masks import soft_ball
from cryocore.types import Floats32

N, VOXEL = 24, 4.0


def blobs(n: int = N) -> Floats32:
    """A lopsided map: two balls of different size."""
    z, y, x = np.indices((n,) * 3) - n // 2
    big = np.exp(-((x + 3) ** 2 + y**2 + z**2) / 18.0)
    return np.asarray(big + 0.7 * np.exp(-((x - 5) ** 2 + (y - 2) ** 2 + z**2) / 8.0), dtype=np.float32)


def test_centres_lie_all_over_the_mask_and_once_in_an_asymmetric_unit() -> None:
    mask = soft_ball(N, 8, 2)
    alone = centres(mask, point_group("C1"))
    assert len(alone) == CENTRES
    assert all(mask[tuple(np.rint(c).astype(int))] > 0.5 for c in alone)
    apart = np.linalg.norm(alone[:, None] - alone, axis=2)[~np.eye(CENTRES, dtype=bool)]
    assert apart.min() > 2.0
    group = point_group("C4")
    once = centres(mask, group) - N // 2
    assert len(once) == CENTRES // 4
    for g in group[1:]:
        assert np.linalg.norm(once[:, None] - once @ g[::-1, ::-1].T, axis=2).max(axis=1).min() > 2.0


def test_a_missing_part_holds_its_share_and_the_rest_is_as_it_was() -> None:
    volume, mask, alone = blobs(), soft_ball(N, 9, 2), point_group("C1")
    density = Density.of(volume, mask, VOXEL, alone)
    found = templates(density)
    assert len(found) == CENTRES * len(SHARES) * (1 + TILTS)
    for template in found[:: 1 + TILTS]:
        assert template.kind == "missing"
        change = template.of(volume, alone)
        held = -np.sum(change * (mask > 0.5)) / np.sum(volume * (mask > 0.5))
        assert abs(held - template.share) < 0.35 * template.share  # the edge is soft
        np.testing.assert_array_equal(change[template.window == 0], 0.0)


def test_a_turned_part_keeps_its_mass_and_goes_where_it_turns() -> None:
    volume = blobs()
    quarter = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # (z, y, x): x to -y
    about = np.full(3, N // 2, dtype=np.float64)
    moved = turned(volume, quarter, about)
    assert abs(moved.sum() / volume.sum() - 1) < 0.01
    expected = np.rot90(volume[:, 1:, 1:], axes=(1, 2))
    turns = [np.abs(moved[:, 1:, 1:] - e).max() for e in (expected, np.rot90(volume[:, 1:, 1:], -1, axes=(1, 2)))]
    assert min(turns) < 0.01 < max(turns)


@pytest.mark.parametrize("group", ["C4", "D2"])
def test_templates_of_a_symmetric_molecule_have_its_symmetry(group: str) -> None:
    operators = point_group(group)
    volume = symmetric(blobs(), operators)
    density = Density.of(volume, soft_ball(N, 8, 2), VOXEL, operators)
    for template in templates(density)[::9][:4]:
        change = template.of(volume, operators)
        again = symmetric(change, operators) / len(operators)
        assert np.linalg.norm(again - change) < 0.05 * np.linalg.norm(change)


def test_what_is_near_differs_from_a_template_a_little() -> None:
    volume, alone = blobs(), point_group("C1")
    density = Density.of(volume, soft_ball(N, 9, 2), VOXEL, alone)
    template = density.tilts(density.part(np.array([12.0, 14.0, 17.0]), 0.2))[0]
    change = template.of(volume, alone).ravel()
    near = [t.of(volume, alone).ravel() for t in density.near(template)]
    alike = [float(np.corrcoef(change, other)[0, 1]) for other in near]
    assert len(near) == 14 and min(alike) > 0.4 and max(alike) < 0.9999
