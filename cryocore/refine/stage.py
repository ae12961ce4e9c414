"""The stages: particles of a finished run refined anew by RELION, and what came of all and of the recommended ones."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cryocore.config.refine import Refine
from cryocore.convert.convert import convert
from cryocore.errors import InputError
from cryocore.explore.recommended import recommended_number
from cryocore.figures.look import CORRECT, INCORRECT, QUIET, save, style
from cryocore.formats.kinds import kind_of, read_tables
from cryocore.formats.source import Source
from cryocore.formats.star import IMAGE_NAME
from cryocore.formats.star_out import write_star
from cryocore.geometry.rotations import angular_distance_deg
from cryocore.geometry.symmetry import point_group
from cryocore.ingest.particles import read_particles
from cryocore.ingest.stacks import without_format
from cryocore.maps.fsc import half_map_fsc, resolution_at
from cryocore.maps.mrc import read_map, write_map
from cryocore.refine.relion import Refinement, run
from cryocore.tables.io import atomic_path, copy_file, why, write_json
from cryocore.tables.particles import Particles, read_subset
from cryocore.types import Bools, Floats, Floats32

ALL, RECOMMENDED = LISTS = "all", "recommended"
NUMBERS = "refined.json"
SAME_PIXEL = 1e-3
MARGIN_ANGSTROM = 20.0
"""About the mask, in the diameter that RELION is told."""
COLOURS = {ALL: INCORRECT, RECOMMENDED: CORRECT}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refined:
    """What became of a list of particles; FSC between half maps ``(shells,)`` within the mask of round 0, corrected for
    it.

    ``round`` : whose half maps are those at the given poses
    ``turned_deg`` : by how much poses changed, the quartiles
    """

    name: str
    round: int
    n_particles: int
    shells_angstrom: list[float]
    fsc_given: list[float]
    fsc_refined: list[float]
    turned_deg: list[float]

    def resolution_angstrom(self, curve: list[float]) -> float:
        """Where a curve falls below 0.143."""
        return resolution_at(np.array(curve), np.array(self.shells_angstrom))


def refine(run_dir: Path, which: str, out_dir: Path, *, settings: Refine, symmetry: str, threads: int) -> None:
    """Refine the poses of a list of a finished run, and write ``half1.mrc``, ``half2.mrc``, ``refined.star`` and the
    numbers ``refined.json``.

    What RELION writes is kept in ``relion``: an interrupted refinement goes on from its last iteration.

    Parameters
    ----------
    run_dir : results/<run>
    which : all, or recommended
    out_dir : folder to write

    Raises
    ------
    InputError  if RELION does not start, or fails.
    """
    data = Particles.read(run_dir / "particles.parquet")
    number = 0 if which == ALL else recommended_number(run_dir)
    kept = np.ones(len(data), dtype=bool) if number == 0 else read_subset(_subset(run_dir, number), data)[1]
    star = written(data, kept, out_dir)
    mask, pixel = read_map(run_dir / "round_0" / "mask.mrc")
    reach = float(np.linalg.norm(np.argwhere(mask > 0.5) - len(mask) // 2, axis=1).max())
    refinement = Refinement(
        star=star,
        reference=run_dir / "round_0" / "map.mrc",
        folder=out_dir / "relion",
        root=Path(data.root),
        symmetry=symmetry,
        pixel_size_angstrom=pixel,
        diameter_angstrom=min(2 * reach + MARGIN_ANGSTROM / pixel, len(mask) - 2) * pixel,
        threads=threads,
        settings=settings,
    )
    run(refinement)
    halves = [read_map(file, pixel_size_angstrom=pixel)[0] for file in refinement.half_maps]
    given = [read_map(run_dir / f"round_{number}" / f"half{h}.mrc")[0] for h in (1, 2)]
    curves, before = _fsc(halves, mask, pixel), _fsc(given, mask, pixel)
    turned = np.quantile(turns_deg(refinement), [0.25, 0.5, 0.75])
    found = Refined(which, number, int(kept.sum()), *(c.tolist() for c in (curves[0], before[1], curves[1], turned)))
    for h, half in enumerate(halves, start=1):
        write_map(out_dir / f"half{h}.mrc", half, pixel)
    copy_file(refinement.poses, out_dir / "refined.star")
    write_json(out_dir / NUMBERS, asdict(found))
    resolution = found.resolution_angstrom(found.fsc_refined)
    log.info("%s: %d particles, %.2f Å, turned by %.2f degrees", which, found.n_particles, resolution, turned[1])


def _subset(run_dir: Path, number: int) -> Path:
    return run_dir / f"round_{number}" / "subset.parquet"


def written(data: Particles, kept: Bools, out_dir: Path) -> Path:
    """A STAR file of the particles that are ``kept`` ``(n,)``, as RELION takes them, whatever file they came from.

    Raises
    ------
    InputError  if RELION would take the images for others than they are: dark, or of another pixel size.
    """
    pixel = data.reference_optics.pixel_size_angstrom
    if any(optics.image_sign < 0 for optics in data.optics):
        fix = "Turn it (relion_image_handler --multiply_constant -1), and run the workflow on these images"
        raise InputError("protein is dark in the images; RELION takes it to be bright", file=data.parent, fix=fix)
    star, source = out_dir / "given.star", Source.of(data)
    if kind_of(source.path) == "star":
        source.write(kept, {}, star)
    else:
        own = out_dir / f"given{source.path.suffix}"
        source.write(kept, {}, own)
        convert(own, star, root=data.root, pixel_size_angstrom=pixel if source.path.suffix == ".thu" else None)
    given = read_particles(star, root=data.root, pixel_size_angstrom=None, seed=0).reference_optics.pixel_size_angstrom
    if abs(given / pixel - 1.0) > SAME_PIXEL:
        problem = f"the file says {given:.5g} Å a pixel, the configuration {pixel:.5g}: RELION would take the file's"
        fix = "Correct the file, and leave input.pixel_size_angstrom out"
        raise InputError(problem, file=data.parent, setting="input.pixel_size_angstrom", fix=fix)
    return with_stacks_of_relion(star, Path(data.root), out_dir)


def with_stacks_of_relion(star: Path, root: Path, out_dir: Path) -> Path:
    """The file, its stacks under names that end in .mrcs, of links where they do not: RELION takes no others."""
    tables = read_tables(star)
    names = tables.particles[IMAGE_NAME].astype(str).str.split("@", n=1, expand=True)
    others = [name for name in names[1].unique() if not name.endswith((".mrcs", ":mrcs"))]
    if not others:
        return star
    links = {}
    for i, name in enumerate(others):
        link = out_dir.resolve() / "stacks" / f"{i:06d}_{Path(name).stem}.mrcs"
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to((root / without_format(name)).resolve())
        links[name] = str(link)
    tables.particles[IMAGE_NAME] = names[0] + "@" + names[1].replace(links)
    write_star(tables.particles, tables.optics, star, str(root))
    return star


def turns_deg(refinement: Refinement) -> Floats:
    """By how much poses changed, modulo the point group, ``(m,)``.

    Raises
    ------
    InputError  if RELION's particles are others.
    """
    given, found = (
        read_particles(star, root=str(refinement.root), pixel_size_angstrom=None, seed=0)
        for star in (refinement.star, refinement.poses)
    )
    order, place = np.argsort(found.ids, kind="stable"), np.argsort(given.ids, kind="stable")
    if not np.array_equal(given.ids[place], found.ids[order]):
        fix = "Delete the folder and run snakemake again"
        raise InputError("RELION's particles are not those that it was given", file=refinement.poses, fix=fix)
    return angular_distance_deg(given.rotations[place], found.rotations[order], point_group(refinement.symmetry))


def _fsc(halves: list[Floats32], mask: Floats32, pixel: float) -> tuple[Floats, Floats]:
    curves = half_map_fsc(halves[0], halves[1], mask, pixel_size_angstrom=pixel)
    return curves.resolution_angstrom[1:], curves.corrected[1:]


def compare(folders: list[Path], out_dir: Path) -> None:
    """Write ``refine.json``, the table ``refine.txt`` and the figure ``refine.svg`` of lists that are refined."""
    found = [_read(folder / NUMBERS) for folder in folders]
    write_json(out_dir / "refine.json", as_dict(found))
    with atomic_path(out_dir / "refine.txt") as temporary:
        temporary.write_text(text(found) + "\n")
    save(figure(found), out_dir / "refine.svg")
    log.info("%s", text(found))


def _read(file: Path) -> Refined:
    try:
        return Refined(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        fix = "Give folders of cryocore refine"
        raise InputError(f"the numbers of a refinement cannot be read ({why(error)})", file=file, fix=fix) from None


def as_dict(found: list[Refined]) -> dict[str, Any]:
    """For JSON."""
    return {
        one.name: asdict(one)
        | {f"resolution_{name}_angstrom": one.resolution_angstrom(curve) for name, curve in _curves(one).items()}
        for one in found
    }


def _curves(one: Refined) -> dict[str, list[float]]:
    return {"given": one.fsc_given, "refined": one.fsc_refined}


def text(found: list[Refined]) -> str:
    """For people."""
    lines = [
        "Half maps at the given poses and refined anew, within the mask of round 0",
        f"{'list':12s} {'particles':>9s} {'given':>9s} {'refined':>9s} {'mean FSC':>17s} {'turned by':>10s}",
    ]
    for one in found:
        given, refined = (f"{one.resolution_angstrom(curve):7.2f} Å" for curve in _curves(one).values())
        means = " -> ".join(f"{np.mean(curve):.4f}" for curve in _curves(one).values())
        lines.append(f"{one.name:12s} {one.n_particles:9,d} {given} {refined} {means} {one.turned_deg[1]:9.2f}°")
    return "\n".join(lines)


def figure(found: list[Refined]) -> Figure:
    """FSC at the given poses and refined anew, a colour for each list."""
    with style():
        drawn = Figure(figsize=(7.0, 4.2), layout="constrained")
        axes = drawn.subplots()
        for one in found:
            frequency = 1.0 / np.array(one.shells_angstrom)
            label = f"{one.name}, {one.n_particles:,}"
            axes.plot(frequency, one.fsc_given, color=COLOURS[one.name], linestyle="--", label=f"{label}: given poses")
            axes.plot(frequency, one.fsc_refined, color=COLOURS[one.name], label=f"{label}: refined anew")
        axes.axhline(0.143, color=QUIET, linewidth=0.8, linestyle=":")
        axes.axhline(0.0, color=QUIET, linewidth=0.8)
        axes.set(xlabel="1/Å", ylabel="FSC of half maps", ylim=(-0.1, 1.03))
        axes.legend(fontsize=9)
        axes.grid(axis="y")
    return drawn
