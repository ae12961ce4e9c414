"""Does the selection fit noise: images without phases beyond a resolution, and the whole selection run on them.

Beyond the cut all coefficients of an image keep their amplitudes and get random phases (Chen et al. 2013,
Ultramicroscopy 135, 24): noise of the same power, whatever its spectrum. Particles that are chosen by their scores
alone, each against the map of its own half set, have nothing in common there. A method that judges by the other half
set's map makes the half maps of its choice agree. Scores weigh bands as in the run, by the FSC of its own maps, so that
they read beyond the cut what they take for signal there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.config.score import Score
from cryocore.explore.audit.history import Choice
from cryocore.explore.audit.lists import SAME_SIZE, dealt
from cryocore.explore.audit.ruler import Lists, Ruler
from cryocore.formats.stacks import Images, Pixels, Source, batch_size, batches
from cryocore.hashing import hashed_uniform
from cryocore.imaging.accumulate import accumulate
from cryocore.imaging.cache import image_source, write_transforms
from cryocore.imaging.image_geometry import used_shells
from cryocore.imaging.packed import Records, pack_transforms, record_type, row_ends
from cryocore.log.rounds import open_round
from cryocore.maps.curves import FscCurves
from cryocore.score import score
from cryocore.select.stage import quality_of, selection_of, subset_metadata, subset_table
from cryocore.tables.io import write_table
from cryocore.tables.particles import Particles, read_subset
from cryocore.types import Ids

STREAM = 33
SUBSET = "subset.parquet"
Scoring = Callable[..., None]
"""A function as :func:`cryocore.score.score`."""

log = logging.getLogger(__name__)


def without_phases(records: Records, limit: int, cut: float, ids: Ids, seed: int) -> Records:
    """Packed transforms ``(n, m)`` with random phases beyond ``cut`` shells, those of an image by its id.

    ``limit`` is the last shell that they hold.
    """
    ends = row_ends(limit)
    ky = np.repeat(np.arange(-limit, limit + 1), ends + 1)
    kx = np.concatenate([np.arange(end + 1) for end in ends])
    beyond = np.flatnonzero(kx**2 + ky**2 > cut**2)
    turns = hashed_uniform(ids, len(beyond), seed=seed, stream=STREAM)
    # what is there twice, on the line kx = 0, stays the transform of a real image
    place = dict(zip(zip(kx[beyond], ky[beyond], strict=True), range(len(beyond)), strict=True))
    twice = [(place[0, y], place[0, -y]) for x, y in place if x == 0 and y > 0]
    for one, mate in twice:
        turns[:, mate] = -turns[:, one]
    out = records.copy().view(record_type(limit)).reshape(len(records))
    values = out["transform"][:, beyond].astype(np.float32)
    phase = np.exp(2j * np.pi * turns).astype(np.complex64)
    turned = values.view(np.complex64)[..., 0] * phase
    out["transform"][:, beyond] = turned.view(np.float32).reshape(*turned.shape, 2)
    return out.view(np.int16).reshape(records.shape)


def write_substituted(path: Path, data: Particles, ruler: Ruler, source: Source, backend: Backend) -> None:
    """Write the transforms of all images with random phases beyond the cut, as the cache of a run has them."""
    shells, group, images_of = used_shells(data.optics, ruler.grid), data.column("optics_group"), data.images
    cut = (ruler.cut + 0.5) / (ruler.grid.box * ruler.grid.pixel_size_angstrom)

    def packed() -> Iterator[tuple[NDArray[np.int64], Records]]:
        size = batch_size(max(o.box for o in data.optics))
        for rows, images in batches(data, np.arange(len(data)), size, progress="phases beyond the cut", source=source):
            g = int(group[rows[0]])
            optics = data.optics[g]
            records = _records(images, shells[g], backend)
            of_group = cut * optics.box * optics.pixel_size_angstrom
            yield rows, without_phases(records, shells[g], of_group, images_of[rows], ruler.seed)

    write_transforms(path, data, shells, packed())


def _records(images: Images, limit: int, backend: Backend) -> Records:
    if isinstance(images, Pixels):
        images = images.bright()
    return images if images.ndim == 2 else pack_transforms(images, limit, backend)  # type: ignore[arg-type, return-value]


def selected_from_noise(
    particles: Path,
    choices: list[Choice],
    curves: list[FscCurves],
    ruler: Ruler,
    source: Source,
    backend: Backend,
    work: Path,
    *,
    symmetry: str,
    n_lists: int,
    scoring: Scoring = score,
) -> dict[str, Any]:
    """Run the whole selection of a run on images without phases beyond the cut, and look at its map there.

    Parameters
    ----------
    particles : particles.parquet of the run
    choices : how each round chose from the one before
    curves : FSC of the half maps of the run's rounds, from 0 on
    work : folder for what is written on the way; what is there is not made again
    n_lists : random lists to hold beside it
    scoring : what scores a round

    Returns
    -------
    ``selected`` and each of ``random`` : FSC beyond the cut ``fsc``, its mean ``correlation`` and standard error
    ``sd``; ``n_particles``, and ``members``, which these are ``(n,)``
    """
    data = Particles.read(particles)
    cache = work / "transforms.npz"
    if not cache.exists():
        write_substituted(cache, data, ruler, source, backend)
    replaced = image_source(cache, data, used_shells(data.optics, ruler.grid))
    subset: Path | None = None
    for number, choice in enumerate(choices):
        folder = work / f"round_{number}"
        after = work / f"round_{number + 1}" / SUBSET
        if not after.exists():
            of_round, weights = data.with_quality(subset), read_subset(subset, data)[0]
            sums = accumulate(of_round, weights, ruler.grid, backend, None, replaced, f"substituted, round {number}")
            ruler.write_round(folder, sums, curves[number])
            del sums
            given: dict[str, Any] = {"symmetry": symmetry, "round_number": number, "seed": choice.seed}
            scored = folder / "log.parquet"
            settings: Score = choice.score
            scoring(particles, folder, subset, settings=settings, **given, backend=backend, out=scored, cache=cache)
            _write_choice(scored, data, choice, number + 1, symmetry, after)
        subset = after
    _, selected = read_subset(subset, data)
    lists = Lists(data.with_quality(subset), ruler.grid, backend, replaced)
    half = data.column("half").astype(np.int64) - 1

    def beyond(members: NDArray[np.bool_], name: str) -> dict[str, Any]:
        curve = ruler.noise_fsc(ruler.halves(lists.sums(members, name)))
        value, sd = ruler.noise_correlation(curve)
        return {"fsc": curve.round(6).tolist(), "correlation": round(value, 6), "sd": round(sd, 6)}

    drawn = (
        dealt(selected, half, data.images, seed=ruler.seed, kind=SAME_SIZE, repeat=repeat) for repeat in range(n_lists)
    )
    return {
        "selected": beyond(selected, "substituted, selected"),
        "random": [beyond(members, "substituted, random") for members in drawn],
        "n_particles": int(np.count_nonzero(selected)),
        "members": selected,
    }


def _write_choice(scored: Path, data: Particles, choice: Choice, number: int, symmetry: str, out: Path) -> None:
    last = open_round(scored, beside=[])
    selection = selection_of(last, data, choice.select, number, symmetry=symmetry)
    found = quality_of(last, choice.select, choice.seed)
    metadata = subset_metadata(choice.select, choice.seed, number, selection, found)
    write_table(out, subset_table(data.ids, selection, found), **metadata)
