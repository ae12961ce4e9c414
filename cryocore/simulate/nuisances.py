"""What real particles have beside one molecule and noise: neighbours, gold beads, weak signal, inexact poses, a wrong
defocus.

Every nuisance draws from a random stream of its own: a share raised from 0 leaves everything else of the data set as it
is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cryocore.config.plant import PlantedErrors
from cryocore.config.simulate import Simulate
from cryocore.geometry.rotations import rotations_by_angle
from cryocore.simulate.plant import CORRECT, Kinds
from cryocore.types import Bools, Floats, Floats32, Ints

WEAK_SCALE = 0.3
"""Of the signal of weak particles."""
NEIGHBOUR_DISTANCE = 0.35, 0.6
"""Of a neighbour's centre from that of the image, as shares of its side."""
JITTER_FREEDOM = 3
"""Degrees of freedom of the t distribution of inexact poses: of 100 particles one is off by more than 5.8 times the
scale."""
WRONG_DEFOCUS = "wrong_defocus"
WRONG_DEFOCUS_ANGSTROM = 3000.0, 8000.0
EDGE_PIXELS = 1.0
"""Half the width of a bead's soft edge."""


def stream(seed: int, name: str) -> np.random.Generator:
    """The random numbers of one nuisance."""
    return np.random.default_rng([seed, *name.encode()])


def affected(n: int, share: float, rng: np.random.Generator) -> Bools:
    """Which of ``n`` have a nuisance, ``(n,)``: ``round(share * n)`` at random places."""
    return rng.permutation(n) < round(share * n) if share else np.zeros(n, dtype=bool)


def with_jitter(
    kinds: Kinds, rotations: Floats, settings: Simulate, plant: PlantedErrors, rng: np.random.Generator
) -> tuple[Kinds, Floats]:
    """Kinds of errors ``(n,)`` and recorded poses ``(n, 3, 3)``, the correct ones turned about random axes.

    The angles are ``pose_jitter_deg`` times Student's t of :data:`JITTER_FREEDOM` degrees of freedom. A particle stays
    correct up to the smallest angle of a ``local_pose``, ``plant.local_angle_deg``, and is one beyond.
    """
    correct = np.flatnonzero(kinds == CORRECT)
    angles = np.minimum(settings.pose_jitter_deg * np.abs(rng.standard_t(JITTER_FREEDOM, len(correct))), 180.0)
    rotations, kinds = rotations.copy(), kinds.copy()
    rotations[correct] = rotations_by_angle(rng.normal(size=(len(correct), 3)), angles) @ rotations[correct]
    kinds[correct[angles > plant.local_angle_deg[0]]] = "local_pose"
    return kinds, rotations


def with_wrong_defocus(
    kinds: Kinds, defocus: Floats, micrograph: Ints, settings: Simulate, rng: np.random.Generator
) -> tuple[Kinds, Floats]:
    """Kinds of errors ``(n,)`` and recorded defoci ``(n, 3)``, those of some micrographs too high.

    The error, uniform in :data:`WRONG_DEFOCUS_ANGSTROM`, is one for all particles of a micrograph; the correct ones
    become :data:`WRONG_DEFOCUS`.
    """
    n = settings.n_micrographs
    is_wrong = affected(n, settings.wrong_defocus, rng)
    error = np.where(is_wrong, rng.uniform(*WRONG_DEFOCUS_ANGSTROM, n), 0.0)
    recorded = defocus + error[micrograph, None] * [1.0, 1.0, 0.0]
    kinds = kinds.astype(f"<U{max(kinds.itemsize // 4, len(WRONG_DEFOCUS))}")
    kinds[is_wrong[micrograph] & (kinds == CORRECT)] = WRONG_DEFOCUS
    return kinds, recorded


@dataclass(frozen=True)
class ImageNuisances:
    """Which images have which nuisance, ``(n,)`` each, and the streams that neighbours and beads are drawn from.

    ``scales`` is what the signal is multiplied by: that of the micrograph, less for weak particles.
    """

    scales: Floats32
    has_neighbour: Bools
    has_bead: Bools
    neighbour_rng: np.random.Generator
    bead_rng: np.random.Generator


def draw_nuisances(kinds: Kinds, micrograph: Ints, settings: Simulate, seed: int) -> ImageNuisances:
    """Choose weak ones among the correct particles of planted ``kinds`` ``(n,)``, neighbours and beads among all."""
    scales = micrograph_scales(settings, seed)[micrograph]
    correct = np.flatnonzero(kinds == CORRECT)
    scales[correct[affected(len(correct), settings.weak, stream(seed, "weak"))]] *= WEAK_SCALE
    beside, spoilt = stream(seed, "neighbours"), stream(seed, "beads")
    has_neighbour = affected(len(kinds), settings.neighbours, beside)
    return ImageNuisances(scales, has_neighbour, affected(len(kinds), settings.beads, spoilt), beside, spoilt)


def micrograph_scales(settings: Simulate, seed: int) -> Floats32:
    """What the signal of each micrograph is multiplied by, ``(micrographs,)``."""
    drawn = stream(seed, "scales").normal(0.0, settings.micrograph_scale_spread, settings.n_micrographs)
    return np.exp(drawn).astype(np.float32)


def at_the_edge(images: Floats32, rng: np.random.Generator) -> Floats32:
    """Images ``(m, n, n)`` moved by whole pixels in random directions, as far as neighbours are; 0 where nothing is
    left."""
    side = images.shape[-1]
    distance = side * rng.uniform(*NEIGHBOUR_DISTANCE, len(images))
    direction = rng.uniform(0.0, 2.0 * np.pi, len(images))
    moves = np.rint(distance * [np.sin(direction), np.cos(direction)]).astype(int).T
    out = np.zeros_like(images)
    for image, moved, (y, x) in zip(images, out, moves, strict=True):
        moved[_window(y, side), _window(x, side)] = image[_window(-y, side), _window(-x, side)]
    return out


def _window(move: int, side: int) -> slice:
    return slice(max(move, 0), side + min(move, 0))


def beads(m: int, settings: Simulate, rng: np.random.Generator) -> Floats32:
    """Discs ``(m, n, n)`` of the wanted diameter and height with soft edges, their centres anywhere in the image."""
    radius = 0.5 * settings.bead_angstrom / settings.pixel_size_angstrom
    y, x = rng.uniform(0.0, settings.box, (2, m))
    places = np.arange(settings.box)
    distance = np.sqrt((places[:, None] - y[:, None, None]) ** 2 + (places - x[:, None, None]) ** 2)
    inside = np.clip(0.5 + (radius - distance) / (2.0 * EDGE_PIXELS), 0.0, 1.0)
    return (settings.bead_contrast * inside).astype(np.float32)
