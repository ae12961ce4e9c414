"""What another state may be like: parts of a map that are missing, or turned about where they are joined to the rest.

A difference of two states is not looked for among all maps, of which a few thousand images single out none, but among
some hundred templates: for balls about centres all over the mask, that hold given shares of the map's density, the ball
without its density, and turned as a rigid body. What is found need not be like that in all: a template that shares half
of its power with the difference finds it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, spline_filter

from cryocore.geometry.rotations import rotations_by_angle
from cryocore.types import Floats, Floats32

CENTRES = 48
"""Of a molecule without symmetry."""
FEWEST_CENTRES = 6
"""Of one with symmetry, in its asymmetric unit."""
SHARES = 0.1, 0.2
"""Of the map's density, within a ball."""
TURN_DEG = 25.0
TILTS = 6
"""Directions in which a part is tilted about where it is joined to the rest."""
EDGE_ANGSTROM = 8.0
"""Width of the soft edge of a ball."""
MASKED = 0.5
SHORTEST = 1e-3
"""Arm, in voxels."""
STEP_ANGSTROM, GROWTH, AXIS_STEP = 4.0, 1.35, 0.4
"""From a template to those near it: of its centre; of its share, or angle; of its axis, as a tangent."""
MARGIN = 2.0
"""Voxels about a part in which interpolation leaves something of it."""
TINY = 1e-12


@dataclass(frozen=True)
class Template:
    """A part of a map, and what becomes of it.

    ``centre`` : of the ball, ``(3,)`` as (z, y, x) in voxels
    ``share`` : of the map's density that the balls of all asymmetric units hold
    ``turn_deg`` : rotation vector ``(3,)`` as (z, y, x), about ``hinge``, where the part is joined to the rest; None:
        the part is missing
    ``window`` : ``(n, n, n)``, 0 to 1
    """

    centre: Floats
    share: float
    turn_deg: Floats | None
    hinge: Floats
    window: Floats32

    @property
    def kind(self) -> str:
        """What becomes of the part."""
        return "missing" if self.turn_deg is None else "turned"

    def of(self, volume: Floats32, group: Floats) -> Floats32:
        """What is added to a map ``(n, n, n)`` to have its other state, in all asymmetric units at once."""
        part = volume * self.window
        if self.turn_deg is None:
            return symmetric(-part, group)
        angle = float(np.linalg.norm(self.turn_deg))
        turn = rotations_by_angle(self.turn_deg[None], np.array([angle]))[0]
        return symmetric(turned(part, turn, self.hinge) - part, group)


@dataclass(frozen=True)
class Density:
    """A map ``(n, n, n)`` whose parts may be missing or turned: its density within its mask, of sum 1.

    ``group`` : rotations ``(m, 3, 3)`` of the point group
    """

    density: Floats
    mask: Floats32
    voxel_angstrom: float
    group: Floats

    @classmethod
    def of(cls, volume: Floats32, mask: Floats32, voxel_angstrom: float, group: Floats) -> Density:
        """From a map and its mask."""
        density = np.clip(volume, 0.0, None) * (mask > MASKED)
        return cls(density / density.sum(), mask, voxel_angstrom, group)

    def part(self, centre: Floats, share: float, turn_deg: Floats | None = None) -> Template:
        """The template of a ball that holds a share of the density, with its equivalents."""
        axes = np.indices(self.mask.shape).astype(np.float64)
        distance = np.sqrt(np.sum((axes - centre[:, None, None, None]) ** 2, axis=0))
        order = np.argsort(distance, axis=None, kind="stable")
        within = np.cumsum(self.density.ravel()[order])
        last = min(int(np.searchsorted(within, share / len(self.group))), len(order) - 1)
        radius = float(distance.ravel()[order[last]])
        out = np.clip(0.5 + (distance - radius) * self.voxel_angstrom / EDGE_ANGSTROM, 0.0, 1.0)
        ball = 0.5 + 0.5 * np.cos(np.pi * out)
        rim = self.density * ball * (1.0 - ball)
        hinge = _mean(axes, rim) if rim.sum() > 0 else centre
        window = (ball * np.clip(self.mask, 0.0, 1.0)).astype(np.float32)
        return Template(centre, share, turn_deg, hinge, window)

    def tilts(self, part: Template) -> list[Template]:
        """A part tilted in all directions about where it is joined to the rest."""
        axes = np.indices(self.mask.shape).astype(np.float64)
        arm = _mean(axes, self.density * part.window + TINY) - part.hinge
        return [replace(part, turn_deg=TURN_DEG * axis) for axis in _across(arm)]

    def near(self, template: Template) -> list[Template]:
        """Templates a step away from one: elsewhere, of another size, turned by another angle or about another axis."""
        step = STEP_ANGSTROM / self.voxel_angstrom
        moves = step * np.concatenate([np.eye(3), -np.eye(3)])
        turn = template.turn_deg
        found = [self.part(template.centre + move, template.share, turn) for move in moves]
        found += [self.part(template.centre, template.share * factor, turn) for factor in (1.0 / GROWTH, GROWTH)]
        if turn is not None:
            found += [replace(template, turn_deg=turn * factor) for factor in (1.0 / GROWTH, GROWTH)]
            angle = float(np.linalg.norm(turn))
            aside = [turn + AXIS_STEP * angle * sign * axis for axis in _across(turn)[:2] for sign in (1.0, -1.0)]
            found += [replace(template, turn_deg=angle * v / np.linalg.norm(v)) for v in aside]
        return found


def templates(density: Density) -> list[Template]:
    """Parts all over a map, missing and tilted."""
    found = []
    for centre in centres(density.mask, density.group):
        for share in SHARES:
            part = density.part(centre, share)
            found += [part, *density.tilts(part)]
    return found


def centres(mask: Floats32, group: Floats) -> Floats:
    """Centres ``(k, 3)`` as (z, y, x) in voxels, spread over the asymmetric unit of a mask ``(n, n, n)``."""
    points = np.argwhere(mask > MASKED).astype(np.float64)
    origin = len(mask) // 2
    k = max(FEWEST_CENTRES, -(-CENTRES // len(group)))
    chosen = points[np.argmax(np.sum((points - points.mean(axis=0)) ** 2, axis=1))][None]

    def nearest(centres: Floats) -> tuple[NDArray[np.intp], Floats]:
        """Of each point the centre whose symmetry equivalent is nearest, and how far it is."""
        squares = np.full((len(points), len(centres)), np.inf)
        for g in group:
            equivalents = (centres - origin) @ g[::-1, ::-1].T + origin
            np.minimum(squares, np.sum((points[:, None] - equivalents) ** 2, axis=2), out=squares)
        return np.argmin(squares, axis=1), squares.min(axis=1)

    while len(chosen) < k:
        chosen = np.concatenate([chosen, points[np.argmax(nearest(chosen)[1])][None]])
    if len(group) == 1:
        for _ in range(20):
            which = nearest(chosen)[0]
            chosen = np.stack([points[which == i].mean(axis=0) for i in range(k)])
    return chosen


def symmetric(volume: Floats32, group: Floats) -> Floats32:
    """The sum of a map over the rotations of a point group."""
    if len(group) == 1:
        return volume
    return _sum_of_turned(volume, group[:, ::-1, ::-1], np.full(3, float(len(volume) // 2)))


def turned(volume: Floats32, rotation: Floats, about: Floats) -> Floats32:
    """A map turned by a rotation of (z, y, x) about a place."""
    return _sum_of_turned(volume, rotation[None], about)


def _sum_of_turned(volume: Floats32, rotations: Floats, about: Floats) -> Floats32:
    """The sum of a map turned by each of ``(m, 3, 3)`` about a place; only the ball that holds the map is looked at."""
    out = np.zeros_like(volume)
    held = np.argwhere(volume)
    if not len(held):
        return out
    middle = 0.5 * (held.min(axis=0) + held.max(axis=0))
    radius = float(np.sqrt(np.max(np.sum((held - middle) ** 2, axis=1)))) + MARGIN
    coefficients = spline_filter(volume)
    for rotation in rotations:
        there = rotation @ (middle - about) + about
        low = np.clip(np.ceil(there - radius), 0, len(out)).astype(np.intp)
        high = np.clip(np.floor(there + radius) + 1, low, len(out)).astype(np.intp)
        away = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij")) - there[:, None, None, None]
        inside = np.sum(away**2, axis=0) <= radius**2
        places = rotation.T @ away[:, inside] + middle[:, None]
        window = out[tuple(map(slice, low, high))]
        window[inside] += map_coordinates(coefficients, places, prefilter=False)
    return out


def _mean(axes: Floats, weight: Floats) -> Floats:
    return np.sum(axes * weight, axis=(1, 2, 3)) / weight.sum()


def _across(arm: Floats) -> Floats:
    """Unit vectors ``(TILTS, 3)`` across an arm, all round; the second is not along the first. Without an arm, across
    z."""
    length = float(np.linalg.norm(arm))
    arm = arm / length if length > SHORTEST else np.array([1.0, 0.0, 0.0])
    first = np.cross(arm, np.eye(3)[np.argmin(np.abs(arm))])
    first /= np.linalg.norm(first)
    second = np.cross(arm, first)
    angles = 2.0 * np.pi / TILTS * np.arange(TILTS)[:, None]
    return np.asarray(np.cos(angles) * first + np.sin(angles) * second)
