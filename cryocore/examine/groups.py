"""Point groups that contain each other in the settings of :mod:`cryocore.geometry.symmetry`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np

from cryocore.geometry.symmetry import point_group
from cryocore.types import Floats

STEPS = (2, 3, 5, 7)
"""Numbers of times that an axis on z may turn faster in the next larger group."""
CUBIC = {"T": 12, "O": 24, "I1": 60, "I2": 60, "I3": 60, "I4": 60}
LARGEST = 120
"""Order up to which larger groups are considered."""


def order(name: str) -> int:
    """Number of rotations.

    >>> [order(name) for name in ("C4", "D7", "I2")]
    [4, 14, 60]
    """
    return CUBIC[name] if name in CUBIC else int(name[1:]) * (2 if name[0] == "D" else 1)


@cache
def contains(larger: str, smaller: str) -> bool:
    """Whether all rotations of one group are rotations of another, axes in place.

    >>> contains("O", "D4"), contains("D7", "C7"), contains("O", "C3")
    (True, True, False)
    """
    if order(larger) % order(smaller):
        return False
    overlap = np.einsum("aij,bij->ab", point_group(smaller), point_group(larger))
    return bool(np.all(overlap.max(axis=1) > 3.0 - 1e-9))


def name_of(name: str) -> str:
    """The name that a group has here.

    >>> name_of(" i "), name_of("c4")
    ('I2', 'C4')
    """
    label = name.strip().upper()
    return "I2" if label == "I" else label


def subgroups(name: str) -> list[str]:
    """A group and all its subgroups on axes of these settings, in ascending order, C1 first.

    >>> subgroups("D4")
    ['C1', 'C2', 'D1', 'C4', 'D2', 'D4']
    """
    named = [f"{kind}{n}" for n in range(1, order(name) + 1) for kind in "CD"] + [*CUBIC]
    found = [other for other in named if order(name) % order(other) == 0 and contains(name, other)]
    return sorted({*found, name}, key=lambda g: (order(g), g))


def chain(name: str) -> list[str]:
    """Groups from C1 to a group, each the largest within the next, cyclic before dihedral.

    >>> chain("D6"), chain("O")
    (['C1', 'C3', 'C6', 'D6'], ['C1', 'C2', 'C4', 'D4', 'O'])
    """
    found = [name]
    while found[0] != "C1":
        found.insert(0, max(subgroups(found[0])[:-1], key=lambda g: (order(g), g[0] == "C")))
    return found


def next_larger(name: str) -> list[str]:
    """The groups that hold a group and a faster axis on z, 2-fold axes across it (one of them x), or more axes.

    >>> next_larger("C4")
    ['C8', 'D4', 'C12', 'C20', 'C28']
    >>> next_larger("D4")
    ['D8', 'D12', 'O', 'D20', 'D28']
    """
    kind, n = name[0], name[1:]
    found = [f"{kind}{p * int(n)}" for p in STEPS] if kind in "CD" else []
    found += [f"D{n}"] if kind == "C" else []
    found += [other for other in CUBIC if order(other) > order(name) and name in maximal(subgroups(other)[:-1])]
    return sorted((g for g in found if order(g) <= LARGEST), key=lambda g: (order(g), g))


def maximal(names: Iterable[str]) -> list[str]:
    """Of some groups those that none of the others holds.

    >>> maximal(["C1", "C2", "D1", "C4"])
    ['D1', 'C4']
    """
    listed = list(names)
    return [h for h in listed if not any(order(g) > order(h) and contains(g, h) for g in listed)]


def cosets(larger: str, smaller: str) -> Floats:
    """One rotation of each right coset ``{h g}`` of a smaller group in a larger one, identity first ``(p, 3, 3)``."""
    left, chosen = point_group(larger), []
    while len(left):
        chosen.append(left[0])
        members = point_group(smaller) @ left[0]
        left = left[np.einsum("aij,bij->ab", left, members).max(axis=1) < 3.0 - 1e-9]
    return np.stack(chosen)
