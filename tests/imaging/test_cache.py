"""Packed transforms: as exact as half precision allows, of the images that they say; scores hardly change."""

from __future__ import annotations

import os
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cryocore.backend import get_backend
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.score import Score
from cryocore.errors import InputError
from cryocore.formats.stacks import StackReader, batches
from cryocore.geometry.rotations import random_rotations
from cryocore.imaging.cache import Transforms
from cryocore.imaging.grid import FourierGrid, last_shell
from cryocore.imaging.image_geometry import ImageGeometry, used_shells
from cryocore.imaging.packed import pack_transforms, record_type, row_ends
from cryocore.imaging.prepare import prepare
from cryocore.ingest.cache import cache
from cryocore.log.names import SCORES
from cryocore.maps.curves import FscCurves
from cryocore.maps.mrc import write_stack
from cryocore.reconstruct import reconstruct
from cryocore.score import score
from cryocore.tables.particles import Particles
from tests.phantoms import BACKENDS, Blobs, optics, particles, used_samples
from tests.reconstruct.test_reconstruct import data_set

BOX = 40


def two_groups(folder: Path, n: int = 60) -> Particles:
    """Noise in three stacks whose images take turns, of two optics groups with boxes 40 and 20."""
    rng = np.random.default_rng(0)
    group = (np.arange(n) % 3 == 2).astype(np.int32)
    for i, (box, pixel) in enumerate(((BOX, 2.0), (BOX, 2.0), (BOX // 2, 4.0))):
        write_stack(folder / f"s{i}.mrcs", rng.standard_normal((n // 3, box, box), dtype=np.float32), pixel)
    stack = np.array([f"s{i % 3}.mrcs" for i in range(n)])
    data = particles(random_rotations(n, rng), optics(BOX), stack=stack, slice=np.arange(n) // 3, optics_group=group)
    data = Particles(data.table, (data.optics[0], optics(BOX // 2, 4.0)), "none.star", str(folder))
    data.write(folder / "particles.parquet")
    return data


def cached(folder: Path, data: Particles, resolution: float | None = None) -> Transforms:
    """The cache of a data set, written and opened."""
    path = folder / "cache" / "transforms.npz"
    cache(folder / "particles.parquet", max_resolution_angstrom=resolution, backend=get_backend("cpu"), out=path)
    return Transforms.of(path, data, shells(data, resolution))


def shells(data: Particles, resolution: float | None = None) -> list[int]:
    return used_shells(data.optics, FourierGrid.of(BOX, 2.0, 1.0, last_shell(BOX, 2.0, resolution)))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("kind", [{}, {"phase_flipped": True}, {"premultiplied": True}, {"beam_tilt_mrad": (1.0, 2.0)}])
@pytest.mark.parametrize("box", [32, 33])
def test_prepared_from_packed_transforms_as_from_pixels(name: str, kind: dict[str, Any], box: int) -> None:
    backend, rng, n = get_backend(name), np.random.default_rng(1), 6
    frame = ImageGeometry.of(optics(box, **kind), FourierGrid.of(box, 2.0, 2.0, 12))
    data = particles(random_rotations(n, rng), frame.optics, shift_x_angstrom=rng.normal(size=n))
    images = rng.standard_normal((n, box, box), dtype=np.float32)
    expected = prepare(images, data, frame, backend)
    image, ctf = (np.array(backend.to_host(a)) for a in (expected.image, expected.ctf))
    backend.scratch("image", image.shape, np.complex64)[...] = np.nan
    found = prepare(pack_transforms(images, frame.limit, backend), data, frame, backend)
    np.testing.assert_array_equal(backend.to_host(found.ctf), ctf)
    found_image = backend.to_host(found.image)
    assert np.all(found_image[:, ~used_samples(frame.limit)] == 0)
    error = np.linalg.norm(found_image - image, axis=(1, 2)) / np.linalg.norm(image, axis=(1, 2))
    assert np.all(error > 0)
    assert np.all(error < 2.0**-11)


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_half_precision_neither_overflows_nor_underflows(scale: float) -> None:
    """Whatever the unit of the pixels, their mean, or how much one wave stands out."""
    backend, box, n = get_backend("cpu"), 32, 4
    frame = ImageGeometry.of(optics(box), FourierGrid.of(box, 2.0, 2.0))
    images = np.random.default_rng(2).standard_normal((n, box, box), dtype=np.float32)
    images += 1e4 * np.cos(2 * np.pi * 3 * np.arange(box) / box, dtype=np.float32)
    data = particles(random_rotations(n, np.random.default_rng(2)), frame.optics)
    expected = prepare(images, data, frame, backend).image.copy()
    packed = pack_transforms((np.float32(scale) * images).astype(np.float32), frame.limit, backend)
    offset = pack_transforms(images + np.float32(100.0), frame.limit, backend)
    assert np.array_equal(packed.view(record_type(frame.limit))["factor"][:, 0] > 0, np.ones(n, bool))
    found = prepare(packed, data, frame, backend).image / np.float32(scale)
    # the wave is 1e6 times the noise; all noise keeps the precision of halves, plus that of float32 transforms
    used = used_samples(frame.limit) & (np.abs(expected).max(axis=0) < 1e2)
    assert used.sum() > 0.95 * used_samples(frame.limit).sum()
    np.testing.assert_allclose(found[:, used], expected[:, used], rtol=2.0**-10, atol=0.02)
    with_mean = prepare(offset, data, frame, backend).image
    np.testing.assert_allclose(with_mean[:, used], expected[:, used], rtol=2.0**-10, atol=0.02)
    blank = pack_transforms(np.zeros((1, box, box), np.float32), frame.limit, backend)
    assert not prepare(blank, data.take(np.array([0])), frame, backend).image.any()


def test_every_row_in_any_order_from_few_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, sizes, backend = two_groups(tmp_path), [], get_backend("cpu")
    file = cached(tmp_path, data, 5.0)
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *given: sizes.append(read(*given)) or sizes[-1])
    rows = np.random.default_rng(3).permutation(60)[:45]
    expected = {}
    with StackReader(data) as reader:
        for r in rows:
            group = int(data.column("optics_group")[r])
            expected[r] = pack_transforms(reader.read(np.array([r])), shells(data, 5.0)[group], backend)[0]
    pairs = (zip(at, records.copy(), strict=True) for at, records in batches(data, rows, 8, source=file.reader))
    found = dict(pair for batch in pairs for pair in batch)
    assert sorted(found) == sorted(rows)
    assert all(np.array_equal(found[r], expected[r]) for r in rows)
    part = data.take(rows)
    for at, records in batches(part, np.arange(45), 8, source=file.reader):
        assert all(np.array_equal(x, expected[rows[i]]) for i, x in zip(at, records, strict=True))
    sizes.clear()
    assert sum(len(at) for at, _ in batches(data, np.arange(60), 40, source=file.reader)) == 60
    wanted = [record_type(s).itemsize * n for s, n in zip(shells(data, 5.0), (40, 20), strict=True)]
    assert sorted(sizes) == sorted(wanted)  # two readers, at once


def test_numpy_opens_the_file(tmp_path: Path) -> None:
    data = two_groups(tmp_path)
    file = cached(tmp_path, data)
    with np.load(file.path) as arrays, StackReader(data) as reader:
        row = int(np.flatnonzero(data.ids == arrays["ids"][-1])[0])
        record = arrays["group_1"][-1]
        image = reader.read(np.array([row]))[0]
    values = record["factor"] * record["transform"].astype(np.float32)
    limit = shells(data)[1]
    rows = np.fft.rfft2(image)[np.arange(-limit, limit + 1)]
    expected = np.concatenate([row[: end + 1] for row, end in zip(rows, row_ends(limit), strict=True)])
    kept = np.abs(values).sum(axis=1) > 0
    assert kept.sum() == len(values) - 1  # all but the mean
    np.testing.assert_allclose(values[kept] @ (1, 1j), expected[kept], rtol=2e-3)


def set_column(data: Particles, name: str, values: Any) -> Particles:
    at = data.table.schema.get_field_index(name)
    kind = data.table.schema.field(name).type
    return replace(data, table=data.table.set_column(at, name, pa.array(values).cast(kind)))


def test_images_and_band_decide_not_poses_and_optics(tmp_path: Path) -> None:
    data = two_groups(tmp_path)
    path = cached(tmp_path, data).path
    moved = set_column(set_column(data, "quat_x", np.zeros(60)), "defocus_u_angstrom", np.full(60, 1e4))
    assert np.array_equal(Transforms.of(path, moved, shells(data)).ids, np.sort(data.ids))
    refused = (
        (data.take(np.arange(60)[::-1]), shells(data), "transforms of other particles"),
        (set_column(data, "slice", np.arange(60) // 3 % 19), shells(data), "transforms of other particles"),
        (data, shells(data, 5.0), r"transforms of \[19, 9\] shells, where \[16, 9\] are in use"),
    )
    for changed, used, message in refused:
        with pytest.raises(InputError, match=rf"transforms\.npz: {message}.*Delete it and run snakemake again"):
            Transforms.of(path, changed, used)
    state = (tmp_path / "s1.mrcs").stat()
    for change in ("time", "header"):
        with (tmp_path / "s1.mrcs").open("r+b") as file:
            file.seek(200)
            file.write(b"x" if change == "header" else file.read(0))
        os.utime(tmp_path / "s1.mrcs", ns=(state.st_atime_ns, state.st_mtime_ns + (change == "time")))
        with pytest.raises(InputError, match=r"transforms\.npz: made before s1\.mrcs changed\. Delete it"):
            Transforms.of(path, data, shells(data))
    (tmp_path / "s1.mrcs").unlink()
    with pytest.raises(InputError, match=r"s1\.mrcs: the stack cannot be read"):
        Transforms.of(path, data, shells(data))


def test_a_broken_or_missing_file_is_refused(tmp_path: Path) -> None:
    data = two_groups(tmp_path)
    path = cached(tmp_path, data).path
    whole = path.read_bytes()
    for content in (whole[:-100], whole[: len(whole) // 2], b"x" + whole, b"some text", b""):
        path.write_bytes(content)
        message = r"transforms\.npz: the transforms cannot be read \(it is no \.npz archive\)\. Delete it"
        with pytest.raises(InputError, match=message):
            Transforms.of(path, data, shells(data))
    path.unlink()
    with pytest.raises(InputError, match=r"the transforms cannot be read \(.*No such file"):
        Transforms.of(path, data, shells(data))


@pytest.mark.parametrize("damage", ["one bit", "zeros", "noise"])
def test_damaged_records_are_refused_when_they_are_read(tmp_path: Path, damage: str) -> None:
    data = two_groups(tmp_path)
    file = cached(tmp_path, data)
    row, other = 30, 40
    width = record_type(shells(data)[0]).itemsize
    begin = int(file.offset[np.searchsorted(file.ids, data.ids[row])])
    raw = np.fromfile(file.path, dtype=np.uint8)
    if damage == "one bit":
        raw[begin + width // 2] ^= 1
    else:
        noise = np.random.default_rng(4).integers(256, size=width, dtype=np.uint8)
        raw[begin : begin + width] = 0 if damage == "zeros" else noise
    raw.tofile(file.path)
    opened = Transforms.of(file.path, data, shells(data))
    assert sum(len(rows) for rows, _ in batches(data, np.array([other]), 8, source=opened.reader)) == 1
    message = r"transforms\.npz: damaged: 1 of 40 transforms do not match their checksums\. Delete it and run snakemake"
    with pytest.raises(InputError, match=message):
        list(batches(data, np.arange(60), 40, source=opened.reader))


def test_an_interrupted_build_leaves_nothing_behind(tmp_path: Path) -> None:
    data = two_groups(tmp_path)
    (tmp_path / "s2.mrcs").write_bytes((tmp_path / "s2.mrcs").read_bytes()[:-1])
    with pytest.raises(InputError, match=r"s2\.mrcs: truncated"):
        cached(tmp_path, data)
    assert list((tmp_path / "cache").iterdir()) == []


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n, box = 4000, 32
    monkeypatch.setattr("cryocore.formats.stacks.BATCH_BYTES", 1 << 18)
    data = particles(random_rotations(n, np.random.default_rng(0)), optics(box))
    write_stack(tmp_path / "stack.mrcs", np.ones((n, box, box), np.float32), 2.0)
    data = Particles(data.table, data.optics, "none.star", str(tmp_path))
    data.write(tmp_path / "particles.parquet")
    engine, out = get_backend("cpu", threads=1), tmp_path / "transforms.npz"
    tracemalloc.start()
    cache(tmp_path / "particles.parquet", max_resolution_angstrom=None, backend=engine, out=out)
    file = Transforms.of(out, data, used_shells(data.optics, FourierGrid.of(box, 2.0, 1.0)))
    assert sum(len(rows) for rows, _ in batches(data, np.arange(n), 64, source=file.reader)) == n
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert out.stat().st_size / n < 1.6 * box**2 + 60
    assert peak < 4e6  # the images take 16 MB, their transforms 6


def test_change_of_scores_and_fsc_is_bounded(tmp_path: Path) -> None:
    """A whole round on a cache: no score moves by 3e-3 of its standard deviation, no shell's FSC by 3e-4."""
    data_set(tmp_path, Blobs.random(25, spread=4.0, width=1.0), 400, BOX, noise=3.0)
    given: dict[str, Any] = {"symmetry": "C1", "backend": get_backend("cpu")}
    file, out = tmp_path / "particles.parquet", tmp_path / "transforms.npz"
    cache(file, max_resolution_angstrom=None, backend=given["backend"], out=out)
    logs, curves = [], []
    for name, path in (("stacks", None), ("cache", out)):
        folder = tmp_path / name
        reconstruct(file, None, None, settings=Reconstruct(), out_dir=folder, cache=path, **given)
        made = folder / "scores.parquet"
        score(file, folder, None, settings=Score(), round_number=0, seed=0, out=made, cache=path, **given)
        logs.append(pq.read_table(made))
        curves.append(FscCurves.read(folder / "fsc.parquet"))
    for name in SCORES:
        plain, packed = (log.column(name).to_numpy().astype(np.float64) for log in logs)
        change = np.abs(packed - plain).max() / plain.std()
        assert 0 < change < 3e-3, name
    assert 0 < np.abs(curves[0].unmasked - curves[1].unmasked).max() < 3e-4
    assert np.abs(curves[0].corrected - curves[1].corrected).max() < 3e-4
