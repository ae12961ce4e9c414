"""Particles to look at: those left out for each reason, those at the edge of being selected, and those selected.

Only the images that are shown are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import scipy.fft
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.config.score import Score
from cryocore.errors import InputError
from cryocore.explore.left_out import TITLES
from cryocore.figures.look import save, style
from cryocore.figures.tiles import caption_strip, draw_strip
from cryocore.geometry.symmetry import point_group
from cryocore.hashing import hashed_order
from cryocore.imaging.cache import image_source
from cryocore.log.names import MIXTURE, REASON
from cryocore.log.rounds import LogRound, find_rounds, run_seed, wanted_round
from cryocore.score.comparison import Comparison
from cryocore.score.images import image_pairs
from cryocore.score.reference import load_reference
from cryocore.statistics import posterior
from cryocore.tables.io import as_numpy, write_table
from cryocore.tables.particles import Particles, read_weights, require_same_particles
from cryocore.types import Bools, Floats32, Ids

STREAM = 23
LOW_PASS = 7.0
"""A low-passed image has half of its amplitude left at this part of its side, where particles are still seen."""
CONTRAST_SD = 3.0
"""Standard deviations of the images at which grey ends."""
PIXELS_PER_INCH = 150
LARGEST = 128
"""Side of the pictures in pixels at most: the finest detail of larger images is left out of them."""
PANELS = ("image", "low-passed", "prediction", "residual")
TABLE = "particles.parquet"
COLUMNS = ("particle_id", "selected", REASON, MIXTURE, "micrograph", "defocus_u_angstrom", "defocus_v_angstrom")


@dataclass(frozen=True)
class Strip:
    """Some particles of a group.

    ``name`` : key of ``TITLES``
    ``n`` : particles that are in the group
    ``rows`` : ``(m,)``, those that are shown
    ``captions`` : of each
    ``panels`` : name of ``PANELS`` -> ``(m, d, d)``, centred; all but the image low-passed
    """

    name: str
    n: int
    rows: NDArray[np.intp]
    captions: tuple[str, ...]
    panels: dict[str, Floats32]


@dataclass(frozen=True)
class Seen:
    """A round whose particles are looked at.

    ``weights`` ``(n,)`` : of the particles in its half maps
    ``comparison`` : with these, without what each particle adds to its own
    """

    log: LogRound
    data: Particles
    weights: Floats32
    comparison: Comparison
    seed: int

    @classmethod
    def of(
        cls, log: LogRound, particles: Path, maps: Path, subset: Path | None, backend: Backend, *, seed: int
    ) -> Seen:
        """From the files of a round; ``maps`` is its folder."""
        data = Particles.read(particles).with_quality(subset)
        require_same_particles(log.values("particle_id"), data.ids, file=log.path)
        alone = {"n_random_poses": 0, "n_perturbed_poses": 0, "n_perturbed_shifts": 0, "leave_one_out": "closed_form"}
        settings = Score.model_validate(log.metadata["score_settings"]).model_copy(update=alone)
        reference = load_reference(data, maps, settings, backend)
        cache = particles.parent / "cache" / "transforms.npz"
        source = image_source(cache if cache.exists() else None, data, [frame.limit for frame in reference.frames])
        group = point_group(log.symmetry)
        compared = Comparison(reference, settings, seed, backend, source, poses=data.quaternions, group=group)
        return cls(log, data, read_weights(subset, data), compared, seed)

    @classmethod
    def of_run(cls, run_dir: Path, wanted: str, backend: Backend) -> Seen:
        """A round of a finished run: its number, or ``last``.

        Raises
        ------
        InputError  if the directory is not that of a run, or its maps are not there.
        """
        log = wanted_round(find_rounds(run_dir), wanted)
        if log.run_dir is None:
            raise InputError("there are no maps beside this log", file=run_dir, fix="Give the directory of a run")
        maps = log.run_dir / f"round_{log.number}"
        files = [maps / f"{name}.parquet" for name in ("weights", "subset")]
        subset = next((file for file in files if file.exists()), None)
        return cls.of(log, log.run_dir / "particles.parquet", maps, subset, backend, seed=run_seed(maps))


def strips(seen: Seen, each: int) -> list[Strip]:
    """Up to ``each`` particles of every group that has some, drawn by their ids, with what is predicted of them."""
    table = seen.log.table([name for name in COLUMNS if name in seen.log.columns])
    chosen = {name: (n, drawn) for name, n, drawn in groups(table, seen.data.ids, each, seen.seed)}
    rows = np.unique(np.concatenate([drawn for _, drawn in chosen.values()]))
    panels = pictures(seen, rows)
    texts = captions(table.take(pa.array(rows)))
    found = []
    for name, (n, drawn) in chosen.items():
        at = np.searchsorted(rows, drawn)
        of_group = {panel: values[at] for panel, values in panels.items()}
        found.append(Strip(name, n, drawn, tuple(texts[i] for i in at), of_group))
    return found


def groups(table: pa.Table, ids: Ids, each: int, seed: int) -> list[tuple[str, int, NDArray[np.intp]]]:
    """Name, size and up to ``each`` rows of every group, in the order of ``TITLES``.

    At the edge are those that are about as probably correct as not; of every other group rows are drawn by their ids.
    """
    selected = as_numpy(table.column("selected")).astype(bool)
    reason = np.full(len(ids), None, dtype=object)
    if REASON in table.column_names:
        reason = np.array(table.column(REASON).to_pylist(), dtype=object)
    members: dict[str, Bools] = {
        name: reason == name if name != "unknown" else ~selected & ~np.isin(reason, [*TITLES]) | (reason == name)
        for name in TITLES
    }
    members["selected"] = selected & (reason != "view_guard")
    found = []
    for name, mask in members.items():
        if name == "borderline":
            rows = np.zeros(0, dtype=np.intp)
            if MIXTURE in table.column_names:
                likely = posterior(as_numpy(table.column(MIXTURE)).astype(np.float64))
                near = np.flatnonzero(np.abs(likely - 0.5) < 0.25)
                rows = near[np.lexsort((ids[near], np.abs(likely[near] - 0.5)))]
            size, drawn = len(rows), rows[:each]
        else:
            rows = np.flatnonzero(mask)
            size, drawn = len(rows), rows[hashed_order(ids[rows], seed=seed, stream=STREAM, most=each)]
        if size:
            found.append((name, size, np.sort(drawn)))
    return found


def pictures(seen: Seen, rows: NDArray[np.intp]) -> dict[str, Floats32]:
    """The ``PANELS`` of some rows, ``(m, d, d)`` each, in units of the image's noise.

    d is the smallest box among them, or ``LARGEST``.
    """
    part = seen.data.take(rows)
    side = min(LARGEST, *(o.box for o in part.optics))
    image, prediction = np.zeros((2, len(rows), side, side), dtype=np.float32)
    pairs = image_pairs(part, np.arange(len(rows)), seen.weights[rows], seen.comparison, size=side)
    for at, found in pairs:
        image[at], prediction[at] = found.image, found.prediction
    noise = image.std(axis=(1, 2), keepdims=True) + 1e-30
    image, prediction = image / noise, prediction / noise
    smooth, predicted = low_passed(image), low_passed(prediction)
    return dict(zip(PANELS, (image, smooth, predicted, smooth - predicted), strict=True))


def low_passed(images: Floats32) -> Floats32:
    """Images ``(m, d, d)`` without their fine detail, see ``LOW_PASS``."""
    side = images.shape[-1]
    periods = side * np.hypot(scipy.fft.fftfreq(side)[:, None], scipy.fft.rfftfreq(side))
    kept = np.exp(-np.log(2.0) * (periods / LOW_PASS) ** 2).astype(np.float32)
    return np.asarray(scipy.fft.irfft2(scipy.fft.rfft2(images) * kept, s=(side, side)), dtype=np.float32)


def captions(table: pa.Table) -> list[str]:
    """What is known of each particle: probability of being correct, defocus and micrograph."""
    lines: list[list[str]] = [[] for _ in range(len(table))]
    if MIXTURE in table.column_names:
        for line, p in zip(lines, posterior(as_numpy(table.column(MIXTURE)).astype(np.float64)), strict=True):
            line.append("p < 0.01" if p < 0.005 else "p > 0.99" if p > 0.995 else f"p = {p:.2f}")
    if "defocus_u_angstrom" in table.column_names:
        u, v = (as_numpy(table.column(f"defocus_{axis}_angstrom")).astype(np.float64) for axis in "uv")
        for line, defocus in zip(lines, 0.5e-4 * (u + v), strict=True):
            line.append(f"{defocus:.2f} µm")
    if "micrograph" in table.column_names:
        for line, name in zip(lines, table.column("micrograph").to_pylist(), strict=True):
            line.append("" if name is None else _short(str(name)))
    return ["\n".join(line) for line in lines]


def _short(name: str) -> str:
    """The end of a micrograph's name, which tells it from others.

    >>> _short("Micrographs/20190105_FoilHole_1234567_frames_aligned.mrc")
    '…4567_frames_aligned'
    """
    stem = Path(name).stem
    return stem if len(stem) <= 20 else f"…{stem[-19:]}"


def drawing(strip: Strip, columns: int) -> Figure:
    """The particles of a strip side by side, panels below each other, with room for so many ``columns``."""
    shown, m = list(strip.panels.values()), len(strip.rows)
    with style():
        figure, axes = plt.subplots(
            len(shown), 1, figsize=(1.25 * max(columns, 4) + 0.9, 1.25 * len(shown) + 1.05), layout="constrained"
        )
        for ax, name, images in zip(axes, strip.panels, shown, strict=True):
            ends = CONTRAST_SD * float(np.std(images if name == "image" else strip.panels["low-passed"]))
            draw_strip(ax, images, ends, max(columns, 4))
            ax.set_ylabel(name)
            if ax is axes[0]:
                caption_strip(ax, images, strip.captions)
        of = f"{m} of {strip.n:,} particles" if m < strip.n else f"{m} particles" if m > 1 else "one particle"
        figure.suptitle(f"{TITLES[strip.name]}, {of}", x=0.01, ha="left", fontsize=11.5, weight="bold")
        return figure


def write_gallery(found: Sequence[Strip], seen: Seen, out_dir: Path) -> list[Path]:
    """A picture of each strip, ``NAME.png``, and ``particles.parquet``, a row for each particle that is shown."""
    out_dir.mkdir(parents=True, exist_ok=True)
    for name in TITLES:
        (out_dir / f"{name}.png").unlink(missing_ok=True)
    files = []
    for strip in found:
        figure = drawing(strip, max(len(s.rows) for s in found))
        save(figure, out_dir / f"{strip.name}.png", dpi=PIXELS_PER_INCH)
        plt.close(figure)
        files.append(out_dir / f"{strip.name}.png")
    rows = np.concatenate([strip.rows for strip in found])
    names: list[Any] = [strip.name for strip in found for _ in strip.rows]
    table = pa.table({"particle_id": seen.data.ids[rows], "group": pa.array(names).dictionary_encode()})
    sizes = {strip.name: strip.n for strip in found}
    write_table(out_dir / TABLE, table, round=seen.log.number, sizes=sizes)
    return [*files, out_dir / TABLE]


def text(found: Sequence[Strip], out_dir: Path) -> str:
    """What was written, for people."""
    lines = [f"{TITLES[s.name]:26s} {len(s.rows):3d} of {s.n:,} particles   {out_dir / s.name}.png" for s in found]
    return "\n".join(lines)
