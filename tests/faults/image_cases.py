"""Stacks, maps and masks that are damaged or of something else."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cryocore.maps import read_map, write_map
from tests.faults.case import ROUND, Case, cut, cycle, directory, patch, remove, write
from tests.ingest.samples import BOX, N, noise_images, write_mrc

HEADER = 1024
PIXEL = 6.0


def stack(shape: tuple[int, ...] = (N, BOX, BOX), **fields: Any) -> Callable[[Path], object]:
    """Another stack."""
    return lambda path: write_mrc(path, np.random.default_rng(0).standard_normal(shape), **fields)


def pixels(value: float, image: int | slice = 6) -> Callable[[Path], object]:
    """One pixel of images set to a value."""

    def change(path: Path) -> None:
        images = noise_images()
        images[image, 3, 3] = value
        write_mrc(path, images)

    return change


def zipped(compress: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(compress(path.read_bytes()))


STACK_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (remove, "the stack a.mrcs does not exist"),
    "empty": (write(b""), "not an MRC stack: it has 0 bytes"),
    "text": (write("a table of numbers\n" * 100), "not an MRC stack: it is text .*Give an MRC file"),
    "header alone": (cut(HEADER), "truncated: 1024 bytes"),
    "half a header": (cut(500), "not an MRC stack: it has 500 bytes"),
    "copied in part": (cut(HEADER + 5 * BOX * BOX * 4), "truncated: 6144 bytes .*rows 1 to 8 of .*, 8 particles"),
    "one byte short": (cut(-1), "truncated"),
    "gzip": (zipped(gzip.compress), "not an MRC stack: it is compressed .gzip. .*Decompress it"),
    "bzip2": (zipped(bz2.compress), "not an MRC stack: it is compressed .bzip2. .*Decompress it"),
    "TIFF": (write(b"II*\0" + bytes(4000)), "not an MRC stack: it is a TIFF file .*Write it as an MRC file"),
    "complex mode": (patch(12, 4), "not a readable MRC stack: mode 4 is not one of 0, 1, 2, 6, 12 .complex numbers"),
    "mode of 4-bit data": (
        patch(12, 101),
        "not a readable MRC stack: mode 101 is not one of .*4-bit numbers",
    ),
    "no columns": (patch(0, 0), "not a readable MRC stack: .* 0 x 16 x 8"),
    "negative rows": (patch(4, -16), "not a readable MRC stack: .* 16 x -16 x 8"),
    "no images": (patch(8, 0), "not a readable MRC stack"),
    "2 thousand million images": (patch(8, 2**31 - 1), "truncated: .* announces 2147483647 images"),
    "huge sides": (patch(0, [2**31 - 1] * 3), "not a readable MRC stack"),
    "largest sides": (patch(0, [2**15, 2**15, 2**31 - 1]), "truncated"),
    "huge extended header": (patch(92, 2**31 - 1), "truncated"),
    "negative extended header": (patch(92, -1), "not a readable MRC stack"),
    "of fewer images": (stack((5, BOX, BOX)), "row 6, column rlnImageName: image 6 of a.mrcs, which has 5 .and 2 more"),
    "not square": (stack((N, 16, 18)), "row 1: the images are 18 x 16, not square .8 particles"),
    "odd box": (stack((N, 17, 17)), "row 1: the images are 17 x 17, of odd side"),
    "NaN pixel": (pixels(np.nan), "row 7, column rlnImageName: image 7 of a.mrcs has NaN or infinite pixels"),
    "infinite pixel": (pixels(np.inf), "row 7, .* image 7 of a.mrcs has NaN or infinite"),
    "pixel of minus infinity": (pixels(-np.inf), "row 7, .* image 7 of a.mrcs has NaN or infinite"),
    "pixels beyond all measure": (pixels(3e38), "row 7, .* image 7 of a.mrcs has pixels of 3e.38"),
    "big endian, stamp of little": (lambda p: write_mrc(p, noise_images(), order=">", nz=2**25), "truncated"),
    "directory": (directory, "a.mrcs does not exist"),
    "link to itself": (cycle, "a.mrcs does not exist|cannot be read"),
}


def volume(change: Callable[[np.ndarray], np.ndarray], pixel: float | None = None) -> Callable[[Path], object]:
    """A map or mask whose values are changed."""

    def write_changed(path: Path) -> None:
        values, size = read_map(path)
        write_map(path, change(values.copy()), pixel or size)

    return write_changed


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([b ^ 0xFF for b in content[at : at + 8]]) + content[at + 8 :]


def at_once(values: np.ndarray, value: float) -> np.ndarray:
    values[3, 4, 5] = value
    return values


MAP_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (remove, "file does not exist. Correct the path"),
    "empty": (write(b""), "not an MRC map: it has 0 bytes"),
    "text": (write(b"not a map" * 200), "not an MRC map: it is text"),
    "directory": (directory, "not a readable MRC map .*[Dd]irectory"),
    "link to itself": (cycle, "not a readable MRC map .*symbolic links"),
    "copied in part": (cut(-4), "the file is truncated: its header declares 56320 bytes, there are at most 56316"),
    "header alone": (cut(HEADER), "truncated"),
    "half a header": (cut(500), "not an MRC map: it has 500 bytes"),
    "huge sides": (patch(0, [2**30, 2**30, 2**30]), "the header gives the size 1073741824 x 1073741824 x 1073741824"),
    "largest sides": (patch(0, [2**31 - 1] * 3), "the header gives the size 2147483647 x 2147483647 x 2147483647"),
    "negative side": (patch(0, [-6]), "the header gives the size -6 x 24 x 24"),
    "complex mode": (patch(12, [4]), "mode 4 is not one of 0, 1, 2, 6, 12"),
    "axes 1 1 3": (patch(64, [1, 1, 3]), "the axis order .* is not an order of 1 2 3"),
    "negative extended header": (patch(92, [-5]), "not a readable MRC"),
    "damaged": (patch(HEADER + 4000, [1.0], "<f4"), "damaged: its voxels do not match the checksum in its header"),
    "NaN voxel": (volume(lambda v: at_once(v, np.nan)), "holds NaN or infinite voxels"),
    "infinite voxel": (
        lambda p: (patch(220, 0)(p), patch(HEADER, [np.inf], "<f4")(p)),  # no label, which holds the checksum
        "holds NaN or infinite voxels",
    ),
    "voxel not cubic": (patch(40, [6.0, 6.0, 12.0], "<f4"), "Å, not a cube"),
    "no voxel size": (patch(40, [0.0] * 3, "<f4"), "the header gives no voxel size"),
    "NaN voxel size": (patch(40, [np.nan] * 3, "<f4"), "the header gives no voxel size"),
    "negative voxel size": (patch(40, [-144.0] * 3, "<f4"), "the header gives no voxel size"),
    "no intervals": (patch(28, [0, 0, 0]), "the header gives no voxel size"),
    "gzip cut short": (lambda p: p.write_bytes(gzip.compress(p.read_bytes())[:-200]), "not a readable MRC|truncated"),
    "gzip bomb": (lambda p: p.write_bytes(gzip.compress(bytes(1 << 22))), "not a readable MRC map"),
    "gzip of a huge header": (
        lambda p: (patch(0, [600, 600, 600])(p), p.write_bytes(gzip.compress(p.read_bytes()))),
        "truncated|fewer voxels|not a readable MRC",
    ),
    "gzip damaged": (zipped(lambda raw: _flipped(gzip.compress(raw), 200)), "not a readable MRC map|damaged"),
    "gzip of a huge extended header": (
        lambda p: (patch(92, 2**31 - 1)(p), p.write_bytes(gzip.compress(p.read_bytes()))),
        "the file is truncated: its header declares 2147538943 bytes|truncated",
    ),
    "not a cube": (lambda p: write_map(p, np.zeros((4, 4, 6)), PIXEL), "the volume is 6 x 4 x 4, not a cube"),
    "one image": (lambda p: write_mrc(p, noise_images(1), pixel_size=PIXEL), "it holds one image. Give one volume"),
    "of another box": (
        lambda p: write_map(p, np.ones((20, 20, 20)), PIXEL),
        "box 20 at 6 Å, the round's map has box 24",
    ),
    "of another voxel size": (volume(lambda v: v, 5.0), "box 24 at 5 Å, the round's map has box 24 at 6 Å"),
    "all zero": (volume(np.zeros_like), "the (true )?map is 0 everywhere|all .*voxels are equal"),
}
MASK_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (remove, "file does not exist"),
    "copied in part": (cut(-4), "truncated"),
    "text": (write("0 1 1 0\n" * 300), "not an MRC map: it is text"),
    "of another box": (lambda p: write_map(p, np.ones((20, 20, 20)), PIXEL), "the mask is .*20, .* the maps are .*24"),
    "below 0": (volume(lambda v: v - 0.5), "mask values run from -0.5 to 0.5. Give a mask from 0 to 1"),
    "above 1": (volume(lambda v: 255 * v), "mask values run from 0 to 255. Give a mask from 0 to 1"),
    "all zero": (volume(np.zeros_like), "mask values run from 0 to 0. Give a mask from 0 to 1"),
    "next to nothing": (volume(lambda v: 1e-30 * v), "the mask covers .*e-27 voxels. Give a mask that covers"),
    "NaN": (volume(lambda v: at_once(v, np.nan)), "holds NaN or infinite voxels"),
    "of one voxel": (volume(lambda v: at_once(np.zeros_like(v), 1.0)), "the mask covers 1 voxels?"),
}
STAR_SAYS: dict[str, tuple[Callable[[Path], object], str]] = {
    "of another box": (stack((N, 20, 20)), "says 16 but the image is 20 pixels wide .and 7 more rows"),
    "all images blank": (lambda p: write_mrc(p, np.zeros((N, BOX, BOX))), "all images are blank"),
}
IMAGES = {
    **{
        f"stack, {name}": Case("ingest", "a.mrcs", breaks, says, names="particles.star")
        for name, (breaks, says) in STAR_SAYS.items()
    },
    **{f"stack, {name}": Case("ingest", "a.mrcs", breaks, says) for name, (breaks, says) in STACK_FAULTS.items()},
    **{
        f"map, {name}": Case("validate", "run/simulated/true_map.mrc", breaks, says)
        for name, (breaks, says) in MAP_FAULTS.items()
    },
    **{
        f"mask, {name}": Case("reconstruct", f"{ROUND}/mask.mrc", breaks, says)
        for name, (breaks, says) in MASK_FAULTS.items()
    },
    "map, simulated from another box": Case(
        "simulate",
        "run/simulated/true_map.mrc",
        lambda p: None,
        r"the volume is \(24, 24, 24\), the box is 32. Set input.simulate.box to 24",
        {"simulate": {"volume": "run/simulated/true_map.mrc", "box": 32}},
    ),
    "map, simulated from nothing": Case(
        "simulate",
        "run/simulated/true_map.mrc",
        volume(np.zeros_like),
        "0 everywhere|equal",
        {"simulate": {"volume": "run/simulated/true_map.mrc"}},
    ),
    "half map, missing before scoring": Case("score", f"{ROUND}/half2.mrc", remove, "file does not exist"),
    "half map, cut before scoring": Case("score", f"{ROUND}/half1.mrc", cut(-4), "truncated"),
    "half map, of another box": Case(
        *("score", f"{ROUND}/half1.mrc", lambda p: write_map(p, np.ones((20,) * 3), PIXEL), "20.*24|24.*20")
    ),
    "stack, gone before the cache": Case("cache", "run/simulated/particles.mrcs", remove, "the stack cannot be read"),
    "stack, other since the cache": Case(
        "reconstruct",
        "run/cache/transforms.npz",
        lambda p: remove(p.parents[1] / "simulated/particles.mrcs"),
        "the stack cannot be read",
        names="particles.mrcs",
    ),
}
