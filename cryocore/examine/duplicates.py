"""Particles that are there twice, told by their noise.

Two boxes on one particle show one picture, cut some pixels beside: poses agree, and the noise is the same. Pairs of a
micrograph whose poses agree are found in the table of particles. Of a pair, the phases of both transforms are
compared at high frequencies only, where the molecule adds little even to bright images, and every coefficient counts
alike, so that neither the noise's spectrum nor a texture of few frequencies matters. Where noise is shared the
correlation has a peak at the displacement of the boxes as high as the part that they share; else it is normal noise
everywhere, of a known width.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.fft
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import betaincinv, ndtri

from cryocore.formats.stacks import StackReader
from cryocore.geometry.rotations import matrix_to_quaternion, quaternion_to_matrix
from cryocore.geometry.symmetry import point_group
from cryocore.tables.particles import Particles
from cryocore.types import Bools, Complex64, Floats, Floats32, Ids, Ints

WITHIN_DEG = 5.0
"""Poses closer than this may be those of one particle, refined twice."""
NEAREST_DEG = 1.5
"""Pairs closer than this are compared first: there are few by chance."""
TOGETHER = 2000
"""Most successive rows that are searched together, where no names of micrographs part them."""
CHUNK = 4000
"""Rows, about, whose pairs are in memory at a time."""
MOST_SEARCHED = 1_000_000
"""Rows, times operators of the point group, after which no further micrographs are searched."""
MOST_FOUND = 200_000
"""Pairs after which none are."""
MOST_COMPARED = 10_000
MOST_PIXELS = 2**26
"""Pairs whose images are compared, and pixels of either side of them."""

LOWEST_FREQUENCY = 0.25
"""Cycles per pixel, from which on phases are compared."""
TAPER = 0.125
"""Share of the box over which the image fades out at each edge, so that edges add no frequencies."""
FAINT = 0.05
"""Coefficients below this share of the image's typical amplitude, as those that a filter cut off, have no phase."""
LEAST_PHASES = 0.5
"""Coefficients with a phase, per pixel, below which images are not compared; unfiltered ones have 0.8."""
LEAST_SHARED = 0.15
"""Correlation from which on noise is shared: twice what the brightest molecules leave at these frequencies."""
FALSE_PEAKS = 1e-4
"""Share of pairs without shared noise that pass for having it."""
OVER_OTHERS = 1.3
"""How far a peak has to rise above that which 95 % of pairs of different micrographs stay below."""
SAME_PLACE_ANGSTROM = 10.0
SAME_PLACE_PIXELS = 2.0
"""Centres closer than the larger of these are one particle; between others noise agrees at low resolution at most."""

FEWEST = 3
LEAST_SHARE = 0.01
"""Pairs, and share of the particles, from which on duplicates are worth a warning."""
EXAMPLES = 5
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Candidates:
    """Pairs of rows ``(m, 2)`` of a micrograph whose poses agree, and by what angle ``(m,)`` they differ.

    ``n_searched`` : rows whose partners are all among them
    """

    pairs: Ints
    angle_deg: Floats
    n_searched: int


@dataclass(frozen=True)
class Compared:
    """What the images of pairs ``(m, 2)`` share.

    ``shared`` : (m,) height of the highest peak of the correlation, 0 to 1; NaN of images that cannot be compared
    ``offset_pixels`` : (m, 2) where it is, (x, y): how far the second box is from the first
    ``apart_pixels`` : (m,) how far apart both particles are by this and by their shifts
    ``threshold`` : (m,) height from which on noise is shared
    """

    pairs: Ints
    shared: Floats
    offset_pixels: Floats
    apart_pixels: Floats
    threshold: Floats
    pixel_size_angstrom: Floats

    @property
    def noise_is_shared(self) -> Bools:
        """Whether both images of a pair are cut from one picture, ``(m,)``."""
        return self.shared > self.threshold

    @property
    def is_duplicate(self) -> Bools:
        """Whether they are so on one particle, ``(m,)``."""
        near = np.maximum(SAME_PLACE_ANGSTROM / self.pixel_size_angstrom, SAME_PLACE_PIXELS)
        return self.noise_is_shared & (self.apart_pixels < near)


@dataclass(frozen=True)
class Duplicates:
    """Particles that are there twice.

    ``first``, ``second`` : (k,) ids of the pairs that were found, by row; ``distance_angstrom`` (k,) of their boxes
    ``share``, ``low``, ``high`` : such pairs per particle of the data set, estimated, with its interval of 95 %
    ``across_share`` : of the pairs found, those whose particles are in different half sets; None of none
    ``n_overlapping`` : pairs found that share noise, and not their particle
    ``complete`` : whether all pairs of all micrographs were compared
    """

    first: Ids
    second: Ids
    micrograph: tuple[str, ...]
    distance_angstrom: Floats
    distance_pixels: Floats
    n_particles: int
    n_searched: int
    n_candidates: int
    n_compared: int
    n_overlapping: int
    share: float
    low: float
    high: float
    across_share: float | None
    complete: bool

    @property
    def noticed(self) -> bool:
        """Whether there are enough to matter."""
        return len(self.first) >= FEWEST and self.share >= LEAST_SHARE

    @property
    def noise_fsc(self) -> float:
        """The FSC that noise alone has between the half maps: the share of a half map's noise that both contain.

        Less where poses or shifts of a pair differ by what is resolved.
        """
        return 2.0 * self.share * (self.across_share or 0.0)

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        if not self.n_candidates:
            return "No duplicates: no two particles of a micrograph have nearly equal poses."
        if not self.n_compared:
            return (
                f"Duplicates are not told: the images of {self.n_candidates:,} pairs of particles with nearly equal "
                "poses lack the high frequencies by which they are compared."
            )
        if not len(self.first):
            return f"No duplicates among {self.n_compared:,} pairs of particles with nearly equal poses."
        share, low, high = (100 * value for value in (self.share, self.low, self.high))
        found = (
            f"{share:.1f} % of the particles ({low:.1f} to {high:.1f}) are there twice: their boxes are "
            f"{np.median(self.distance_pixels):.1f} pixels ({np.median(self.distance_angstrom):.0f} Å) beside those of "
            "others, and show the same noise."
        )
        if self.noise_fsc < LEAST_SHARE:
            return found
        return (
            f"{found} {100 * (self.across_share or 0.0):.0f} % of the pairs have one in each half set: noise alone "
            f"gives an FSC of up to about {self.noise_fsc:.2f}, and the resolution is too good."
        )

    def warning(self, listed: Path, parent: str) -> str | None:
        """What a user has to know and can do, or None; ``listed`` has :meth:`table`, of the particles of ``parent``."""
        if not self.noticed:
            return None
        without = Path(parent).stem + "_unique" + Path(parent).suffix
        command = shlex.join(["cryocore", "transfer-selection", str(listed), parent, without])
        which = "" if self.complete else f", as far as they were found ({len(self.first):,})"
        return (
            f"{self.sentence} To leave them out{which}, run {command} and start from what it writes; where the file "
            "has coordinates, input.min_distance_angstrom does as well."
        )

    def table(self, ids: Ids) -> pa.Table:
        """A selection without the second one of each pair, of particles ``ids`` ``(n,)``, and what each is like."""
        row = pd.Index(ids).get_indexer(pd.Index(self.second))
        duplicate = np.zeros(len(ids), dtype=bool)
        of, distance = np.zeros(len(ids), dtype=np.uint64), np.zeros(len(ids))
        duplicate[row], of[row], distance[row] = True, self.first, self.distance_angstrom
        return pa.table(
            {
                "particle_id": pa.array(ids, pa.uint64()),
                "selected": pa.array(~duplicate),
                "duplicate_of": pa.array(of, pa.uint64(), mask=~duplicate),
                "distance_angstrom": pa.array(distance, mask=~duplicate),
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        examples = zip(self.first.tolist(), self.second.tolist(), self.micrograph, strict=True)
        return {
            "noticed": self.noticed,
            "sentence": self.sentence,
            "share": round(self.share, 5),
            "share_interval": [round(self.low, 5), round(self.high, 5)],
            "n_found": len(self.first),
            "share_in_different_halves": None if self.across_share is None else round(self.across_share, 4),
            "noise_fsc": round(self.noise_fsc, 4),
            "distance_pixels": _median(self.distance_pixels),
            "distance_angstrom": _median(self.distance_angstrom),
            "n_overlapping": self.n_overlapping,
            "n_candidates": self.n_candidates,
            "n_compared": self.n_compared,
            "n_searched": self.n_searched,
            "complete": self.complete,
            "examples": [
                {"particle_id": b, "duplicate_of": a, "micrograph": name, "distance_angstrom": round(d, 2)}
                for (a, b, name), d in list(zip(examples, self.distance_angstrom.tolist(), strict=True))[:EXAMPLES]
            ],
        }


def find_duplicates(particles: Particles, symmetry: str, *, seed: int) -> Duplicates:
    """Compare pairs of particles of nearly equal poses, all of them or a sample, and judge what their images share.

    The cost is bounded, whatever the number of particles and the box.

    Raises
    ------
    InputError  if images cannot be read.
    """
    member = members(particles)
    found = candidates(member, particles.quaternions, point_group(symmetry), particles.images, seed=seed)
    largest = max(o.box for o in particles.optics)
    most = min(MOST_COMPARED, max(1, MOST_PIXELS // largest**2))
    near = found.angle_deg < NEAREST_DEG
    rng = np.random.default_rng((seed, 1))
    n_rest = min(int(np.count_nonzero(~near)), most // 5)  # at least so many of those farther apart
    first = _sample(np.flatnonzero(near), most - n_rest, rng)
    rest = _sample(np.flatnonzero(~near), most - len(first), rng)
    with StackReader(particles) as reader:
        compared = compare(particles, found.pairs[np.concatenate([first, rest])], member, reader.read)
    return judged(particles, found, near, compared, len(first))


def members(particles: Particles) -> Ints:
    """Number of the set ``(n,)`` within which each particle may have a duplicate: its micrograph and optics group.

    Where all have one name of a micrograph it is that of the stack; sets of many are parted into blocks of rows.
    """
    micrograph, _ = particles.codes("micrograph")
    if np.all(micrograph == micrograph[0]):
        micrograph, _ = particles.codes("stack")
    code = micrograph * len(particles.optics) + particles.column("optics_group")
    order = np.argsort(code, kind="stable")
    place = np.empty(len(code), dtype=np.int64)
    place[order] = np.arange(len(code)) - np.searchsorted(code[order], code[order])
    return pd.factorize(code * (len(code) // TOGETHER + 1) + place // TOGETHER)[0].astype(np.int64)


def candidates(
    member: Ints,
    quaternions: Floats,
    operators: Floats,
    images: Ids,
    *,
    seed: int,
    within_deg: float = WITHIN_DEG,
) -> Candidates:
    """Pairs of one set whose poses differ by less than an angle, modulo the point group.

    Sets are searched in random order, until there are enough rows or pairs.

    Parameters
    ----------
    member : (n,)          set of each row
    quaternions : (n, 4)   poses (w, x, y, z), object to image
    operators : (g, 3, 3)  the point group
    images : (n,)          ids; copies of one image are no pair
    """
    sets = np.random.default_rng(seed).permutation(int(member.max(initial=-1)) + 1)
    order = np.argsort(sets[member], kind="stable")
    new = np.flatnonzero(np.diff(sets[member][order], prepend=-1))  # where sets begin
    chunk = np.flatnonzero(np.diff(new // CHUNK, prepend=-1))
    starts = [*new[chunk].tolist(), len(order)]
    pairs, angles, n_searched = [np.zeros((0, 2), dtype=np.int64)], [np.zeros(0)], 0
    for start, stop in pairwise(starts):
        rows = order[start:stop]
        i, j, angle = _near(quaternions[rows], sets[member[rows]], operators, within_deg)
        other = images[rows[i]] != images[rows[j]]
        pairs.append(np.sort(np.stack([rows[i], rows[j]], axis=1)[other], axis=1))
        angles.append(angle[other])
        n_searched += len(rows)
        if n_searched * len(operators) >= MOST_SEARCHED or sum(map(len, pairs)) >= MOST_FOUND:
            break
    return Candidates(np.concatenate(pairs), np.concatenate(angles), n_searched)


def _near(quaternions: Floats, member: Ints, operators: Floats, within_deg: float) -> tuple[Ints, Ints, Floats]:
    """Rows i < j of one set and the angle of their poses, each pair once by its smallest angle."""
    reach = 2.0 * np.sin(np.deg2rad(within_deg) / 4.0)  # distance of unit quaternions
    apart = (member - member.min())[:, None] * 2.0 * reach
    tree = cKDTree(np.hstack([np.vstack([quaternions, -quaternions]), np.vstack([apart, apart])]))
    rotations, n = quaternion_to_matrix(quaternions), len(quaternions)
    found = []
    for operator in operators:
        turned = cKDTree(np.hstack([matrix_to_quaternion(rotations @ operator), apart]))
        near = turned.sparse_distance_matrix(tree, reach, output_type="ndarray")
        near["j"] %= n
        found.append(near[near["i"] < near["j"]])
    all_found = np.concatenate(found)
    best = all_found[np.lexsort((all_found["v"], all_found["j"], all_found["i"]))]
    again = (np.diff(best["i"], prepend=-1) == 0) & (np.diff(best["j"], prepend=-1) == 0)
    best = best[~again]
    return best["i"], best["j"], np.rad2deg(4.0 * np.arcsin(np.clip(best["v"] / 2.0, 0.0, 1.0)))


def compare(
    particles: Particles, pairs: Ints, member: Ints, read: Callable[[Ints], Floats32 | NDArray[Any]]
) -> Compared:
    """Compare the images of pairs of rows ``(m, 2)``; ``read`` gives images of rows.

    The same images, paired with those of other sets, say how high peaks are where no noise is shared.
    """
    group = particles.column("optics_group")[pairs[:, 0]]
    box, pixel = (np.array([getattr(o, name) for o in particles.optics]) for name in ("box", "pixel_size_angstrom"))
    m = len(pairs)
    shared, offset, threshold = np.zeros(m), np.zeros((m, 2)), np.full(m, np.inf)
    for n in np.unique(box[group]).tolist():
        chosen = np.flatnonzero(box[group] == n)
        size = max(1, MOST_PIXELS // 16 // n**2)
        others = []
        for start in range(0, len(chosen), size):
            rows = chosen[start : start + size]
            first, second = (phases(read(pairs[rows, side])) for side in (0, 1))
            shared[rows], offset[rows] = peaks(first, second, n)
            partner = np.roll(np.arange(len(rows)), len(rows) // 2)
            strange = np.flatnonzero(member[pairs[rows, 0]] != member[pairs[rows[partner], 1]])
            others.append(peaks(first[strange], second[partner[strange]], n)[0])
        threshold[chosen] = least_height(n, np.concatenate(others))
    shift = particles.shifts_angstrom
    expected = (shift[pairs[:, 1]] - shift[pairs[:, 0]]) / pixel[group][:, None]
    # a correlation by transforms tells offsets but for whole boxes: of these the nearest to one particle is taken
    side = box[group][:, None]
    between = (offset - expected + side / 2) % side - side / 2
    apart = np.linalg.norm(between, axis=1)
    return Compared(pairs, shared, expected + between, apart, threshold, pixel[group])


def phases(images: Floats32 | NDArray[Any]) -> Complex64:
    """Transforms ``(m, n, n // 2 + 1)`` of images ``(m, n, n)``, of amplitude 1 at high frequencies and 0 elsewhere."""
    n = images.shape[-1]
    edge = np.clip((np.arange(n) + 0.5) / max(TAPER * n, 0.5), 0.0, 1.0)
    window = (0.5 - 0.5 * np.cos(np.pi * np.minimum(edge, edge[::-1]))).astype(np.float32)
    transform = scipy.fft.rfft2((images - images.mean(axis=(1, 2), keepdims=True)) * (window[:, None] * window))
    transform[:, ~_band(n)] = 0.0
    amplitude = np.abs(transform)
    faint = FAINT * np.sqrt(np.mean(amplitude**2, axis=(1, 2), keepdims=True))
    return np.asarray(np.divide(transform, amplitude, out=np.zeros_like(transform), where=amplitude > faint))


def peaks(first: Complex64, second: Complex64, n: int) -> tuple[Floats, Floats]:
    """Height ``(m,)`` and place ``(m, 2)``, pixels (x, y), of the highest correlation of two sets of phases.

    A peak at (x, y) says that pixel p + (x, y) of the first image, modulo n, is pixel p of the second. Where a filter
    has left too little to compare, the height is NaN.
    """
    product = first * second.conj()
    surface = scipy.fft.irfft2(product, s=(n, n))
    flat = surface.reshape(len(surface), n * n)
    top = np.argmax(flat, axis=1)
    y, x = np.divmod(top, n)
    place = np.stack([x, y], axis=1).astype(np.float64)
    # the other half of the plane holds the Friedel mates; a coefficient without a phase counts for nothing
    number = np.count_nonzero(product, axis=(1, 2)) + np.count_nonzero(product[:, :, 1 : (n + 1) // 2], axis=(1, 2))
    height = flat[np.arange(len(flat)), top].astype(np.float64) * n**2 / np.maximum(number, 1)
    return np.where(number < LEAST_PHASES * n**2, np.nan, height), place


def least_height(n: int, others: Floats) -> float:
    """Height from which on images of side ``n`` share noise, given the peaks ``(m,)`` of pairs that cannot."""
    number = int(np.count_nonzero(np.hypot(scipy.fft.fftfreq(n)[:, None], scipy.fft.fftfreq(n)) >= LOWEST_FREQUENCY))
    by_chance = -ndtri(FALSE_PEAKS / n**2) / np.sqrt(number)
    others = others[np.isfinite(others)]
    usual = float(np.quantile(others, 0.95)) if len(others) >= 20 else 0.0
    return float(max(LEAST_SHARED, by_chance, OVER_OTHERS * usual))


def judged(particles: Particles, found: Candidates, near: Bools, compared: Compared, n_first: int) -> Duplicates:
    """Sum up: those compared are ``n_first`` drawn from the pairs that are ``near`` ``(m,)``, and others."""
    hit, valid = compared.is_duplicate, np.isfinite(compared.shared)
    rates, of_near = [], np.arange(len(hit)) < n_first
    for total, part in ((near.sum(), of_near), ((~near).sum(), ~of_near)):
        k, n = int(np.count_nonzero(hit & part)), int(np.count_nonzero(valid & part))
        low, high = interval(k, n)
        rates.append(int(total) / max(found.n_searched, 1) * np.array([k / max(n, 1), low, high]))
    share, low, high = np.minimum(np.sum(rates, axis=0), 1.0)
    pairs = compared.pairs[hit]
    order = np.lexsort((pairs[:, 0], pairs[:, 1]))
    pairs = pairs[order]
    half, ids = particles.column("half"), particles.ids
    pixels = np.linalg.norm(compared.offset_pixels[hit][order], axis=1)
    micrograph, names = particles.codes("micrograph")
    return Duplicates(
        first=ids[pairs[:, 0]],
        second=ids[pairs[:, 1]],
        micrograph=tuple(names[micrograph[row]] for row in pairs[:, 0].tolist()),
        distance_angstrom=pixels * compared.pixel_size_angstrom[hit][order],
        distance_pixels=pixels,
        n_particles=len(particles),
        n_searched=found.n_searched,
        n_candidates=len(found.pairs),
        n_compared=int(np.count_nonzero(valid)),
        n_overlapping=int(np.count_nonzero(compared.noise_is_shared & ~hit)),
        share=float(share),
        low=float(low),
        high=float(high),
        across_share=float(np.mean(half[pairs[:, 0]] != half[pairs[:, 1]])) if len(pairs) else None,
        complete=bool(np.count_nonzero(valid) == len(found.pairs)) and found.n_searched == len(particles),
    )


def interval(k: int, n: int) -> tuple[float, float]:
    """Bounds of a rate of which ``k`` of ``n`` were seen (Clopper and Pearson 1934); 0 and 0 where there are none.

    >>> [round(bound, 3) for bound in interval(5, 100)]
    [0.016, 0.113]
    """
    tail = (1.0 - CONFIDENCE) / 2.0
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1.0 - tail)) if k < n else float(n > 0)
    return low, high


def _band(n: int) -> Bools:
    """Which coefficients of a half transform ``(n, n // 2 + 1)`` are compared."""
    f = np.hypot(scipy.fft.fftfreq(n)[:, None], scipy.fft.rfftfreq(n))
    return np.asarray(f >= LOWEST_FREQUENCY)


def _sample(rows: Ints, most: int, rng: np.random.Generator) -> Ints:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _median(values: Floats) -> float | None:
    return round(float(np.median(values)), 3) if len(values) else None
