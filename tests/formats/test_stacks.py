"""Images come out as they were written, in the order asked for, from few reads and without piling up."""

from __future__ import annotations

import os
import sys
import threading
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

import cryocore.formats.stacks
from cryocore.errors import InputError
from cryocore.formats.stacks import StackReader, StoredReader, batch_size, batches, read_header
from cryocore.ingest.particles import read_particles
from cryocore.tables.particles import Particles
from tests.ingest.samples import (
    BOX,
    N,
    noise_images,
    optics_columns,
    particle_columns,
    write_data_set,
    write_mrc,
)

RANGES = {0: (-128, 127), 1: (-32768, 32767), 2: (-1e5, 1e5), 6: (0, 65535), 12: (-60000, 60000)}


def load(star: Path) -> Particles:
    return read_particles(star, root=None, pixel_size_angstrom=None, seed=0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", RANGES)
def test_every_mode_in_both_byte_orders(tmp_path: Path, mode: int, order: str) -> None:
    low, high = RANGES[mode]
    images = np.random.default_rng(mode).uniform(low, high, (N, BOX, BOX))
    images = np.round(images) if mode in (0, 1, 6) else images.astype(np.float16 if mode == 12 else np.float32)
    write_mrc(tmp_path / "a.mrcs", images, mode=mode, order=order, extended=80 * (mode == 1))
    particles = load(write_data_set(tmp_path))
    with StackReader(particles) as reader, StoredReader(particles) as as_stored:
        read, stored = reader.read(np.arange(N)), as_stored.read(np.arange(N))
    assert read.dtype == np.float32
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, images.astype(np.float32))
    kept = order == ("<" if sys.byteorder == "little" else ">") or mode == 0
    assert stored.values.dtype.itemsize == ({0: 1, 2: 4}.get(mode, 2) if kept else 4)
    np.testing.assert_array_equal(stored.bright(), read)


def test_images_stored_in_several_ways_are_read_as_floats(tmp_path: Path) -> None:
    particles, images = three_stacks(tmp_path)
    write_mrc(tmp_path / "s0.mrcs", np.round(images[::3]), mode=1)
    rows = np.flatnonzero(particles.column("optics_group") == 0)
    with StoredReader(particles) as reader:
        found = reader.read(rows)
    images[::3] = np.round(images[::3])
    assert found.values.dtype == np.float32 and found.sign == 1.0
    np.testing.assert_array_equal(found.values, images[rows])


def test_threads_share_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cryocore.formats.stacks, "MAX_OPEN_FILES", 1)
    particles, images = three_stacks(tmp_path)
    rng = np.random.default_rng(3)
    asked = [rng.permutation(24)[:7] for _ in range(60)]
    with StackReader(particles) as reader, ThreadPoolExecutor(6) as pool:
        for rows, found in zip(asked, pool.map(reader.read, asked), strict=True):
            np.testing.assert_array_equal(found, images[rows])


@pytest.mark.parametrize("stamp", [(0, 0, 0, 0), (0x11, 0x11, 0, 0), (1, 2, 3, 4)])
def test_machine_stamps_that_say_nothing_or_lie(tmp_path: Path, stamp: tuple[int, int, int, int]) -> None:
    write_mrc(tmp_path / "a.mrc", noise_images(), stamp=stamp)
    header = read_header(tmp_path / "a.mrc")
    assert (header.width, header.n_images, header.dtype) == (BOX, N, np.dtype("<f4"))


@pytest.mark.parametrize(
    ("stack", "star", "n"),
    [
        ("microtubule5/relion31.mrcs", None, 5),
        ("ribosome_tilts219/ay19102021_L3_position6_ribo_it09_bin8_1.82A.mrcs", "sta_testing_bin8.star", 219),
        ("aspire17/sample.mrcs", "sample_particles_relion31.star", 17),
        ("empiar10076_7/empiar_10076_7.mrc", None, 7),
    ],
)
def test_real_stacks(shared_data: Path, tmp_path: Path, stack: str, star: str | None, n: int) -> None:
    path = shared_data / "particles" / stack
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with mrcfile.open(path, permissive=True) as file:
            expected = file.data[:n].copy()
    if star is None:
        link = tmp_path / path.name
        link.symlink_to(path)
        optics = optics_columns() | {"rlnImageSize": [expected.shape[1]]}
        particles = load(write_data_set(tmp_path, particles=particle_columns(n, path.name), optics=optics))
    else:
        particles = load(path.parent / star)
    rows = np.random.default_rng(0).permutation(n)
    with StackReader(particles) as reader:
        np.testing.assert_array_equal(reader.read(rows), expected[rows])


def three_stacks(folder: Path) -> tuple[Particles, np.ndarray]:
    """24 particles, taken in turn from three stacks of two optics groups, and their images."""
    stacks = [noise_images(8, seed=s) for s in range(3)]
    for s, images in enumerate(stacks):
        write_mrc(folder / f"s{s}.mrcs", images)
    columns = particle_columns(24)
    columns["rlnImageName"] = [f"{i // 3 + 1}@s{i % 3}.mrcs" for i in range(24)]
    columns["rlnOpticsGroup"] = [1 + (i % 3 == 1) for i in range(24)]
    star = write_data_set(folder, particles=columns, optics=optics_columns(2))
    return load(star), np.stack([stacks[i % 3][i // 3] for i in range(24)])


def test_rows_come_in_the_order_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cryocore.formats.stacks, "MAX_OPEN_FILES", 2)
    particles, images = three_stacks(tmp_path)
    rows = np.array([23, 0, 7, 7, 1, 22, 2, 0])
    with StackReader(particles) as reader:
        np.testing.assert_array_equal(reader.read(rows), images[rows])
        np.testing.assert_array_equal(reader.read(rows[::-1]), images[rows[::-1]])
        assert sum("s0.mrcs" in f or "s1.mrcs" in f or "s2.mrcs" in f for f in open_files()) == 2
        with pytest.raises(ValueError, match="must not be empty"):
            reader.read(np.array([], dtype=int))


def test_neighbours_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    read = os.preadv

    def counting(descriptor: int, buffers: Any, offset: int) -> int:
        sizes.append(read(descriptor, buffers, offset))
        return sizes[-1]

    monkeypatch.setattr(os, "preadv", counting)
    with StackReader(load(write_data_set(tmp_path))) as reader:
        reader.read(np.array([5, 0, 2, 1, 6]))
    assert sizes == [3 * BOX * BOX * 4, 2 * BOX * BOX * 4]


def test_batches_hold_one_optics_group_each_and_all_rows_once(tmp_path: Path) -> None:
    particles, images = three_stacks(tmp_path)
    rows = np.random.default_rng(1).permutation(24)[:20]
    found = [(r, x.copy()) for r, x in batches(particles, rows, 6)]
    group = particles.column("optics_group")
    assert all(len(set(group[r])) == 1 and 1 <= len(r) <= 6 for r, _ in found)
    assert sorted(np.concatenate([r for r, _ in found])) == sorted(rows)
    for r, x in found:
        np.testing.assert_array_equal(x, images[r])
    again = [r.tolist() for r, _ in batches(particles, rows[::-1], 6)]
    assert again == [r.tolist() for r, _ in found]
    assert list(batches(particles, np.array([], dtype=int), 6)) == []
    with pytest.raises(ValueError, match="at least 1"):
        list(batches(particles, rows, 0))


def test_boxes_of_one_read_must_agree(tmp_path: Path) -> None:
    write_mrc(tmp_path / "b.mrcs", noise_images(8, 2 * BOX))
    columns = particle_columns(8)
    columns["rlnImageName"] = [f"{i + 1}@{'ab'[i // 2 % 2]}.mrcs" for i in range(8)]
    columns["rlnOpticsGroup"] = [1 + i // 2 % 2 for i in range(8)]
    optics = optics_columns(2) | {"rlnImageSize": [BOX, 2 * BOX]}
    particles = load(write_data_set(tmp_path, particles=columns, optics=optics))
    assert [o.box for o in particles.optics] == [BOX, 2 * BOX]
    with StackReader(particles) as reader, pytest.raises(ValueError, match=r"share their box; got \[16, 32\]"):
        reader.read(np.arange(8))
    assert [x.shape for _, x in batches(particles, np.arange(8), 3)] == [
        (3, 16, 16),
        (1, 16, 16),
        (3, 32, 32),
        (1, 32, 32),
    ]


def open_files() -> list[str]:
    folder = Path("/proc/self/fd")
    return [str(f.readlink()) for f in folder.iterdir() if f.is_symlink()]


def readers() -> list[str]:
    return [t.name for t in threading.enumerate() if "read-ahead" in t.name]


def test_a_consumer_may_stop_early(tmp_path: Path) -> None:
    particles, _ = three_stacks(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in batches(particles, np.arange(24), 2):
        break
    stream = batches(particles, np.arange(24), 2)
    next(stream)
    stream.close()
    assert readers() == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_faults_while_reading_reach_the_consumer(tmp_path: Path) -> None:
    particles, _ = three_stacks(tmp_path)
    (tmp_path / "s2.mrcs").unlink()
    with pytest.raises(InputError, match=r"s2\.mrcs: the stack cannot be read"):
        list(batches(particles, np.arange(24), 2))
    write_mrc(tmp_path / "s2.mrcs", noise_images(5))
    with pytest.raises(InputError, match=r"s2\.mrcs: holds 5 images of 16 x 16, where image .* is expected"):
        list(batches(particles, np.arange(24), 2))
    with (tmp_path / "s0.mrcs").open("r+b") as file:
        file.truncate(3000)
    with pytest.raises(InputError, match=r"s0\.mrcs: truncated: 3000 bytes where its header announces 8 images"):
        list(batches(particles, np.arange(24), 2))
    assert readers() == []


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    n, box = 4000, 32
    write_mrc(tmp_path / "a.mrcs", np.zeros((n, box, box), dtype=np.float32))
    columns = particle_columns(n)
    star = write_data_set(tmp_path, particles=columns, optics=optics_columns() | {"rlnImageSize": [box]})
    particles = load(star)
    tracemalloc.start()
    total = sum(len(r) for r, _ in batches(particles, np.arange(n), 64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == n
    assert peak < 4e6  # the images take 16 MB


HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "complex": ({"mode": 4}, "mode 4 is not .*complex numbers.*16 x 16 x 8"),
    "packed": ({"mode": 101}, "mode 101"),
    "no width": ({"nx": 0}, "0 x 16 x 8"),
    "negative": ({"nz": -1}, "not a readable MRC stack"),
    "extended header below 0": ({"nsymbt": -4}, "not a readable MRC stack"),
    "more images than the file holds": ({"nz": 2**31 - 1}, "header announces 2147483647 images of 16 x 16, 21990"),
    "extended header beyond the end": ({"nsymbt": 2**30}, "truncated"),
}


@pytest.mark.parametrize("fault", HEADERS)
def test_refused_headers(tmp_path: Path, fault: str) -> None:
    fields, message = HEADERS[fault]
    write_mrc(tmp_path / "a.mrcs", noise_images(), **fields)
    with pytest.raises(InputError, match=message):
        read_header(tmp_path / "a.mrcs")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has 0 bytes"),
        (b"\1\2\3", "it has 3 bytes"),
        (b"short", "it is text"),
        (b"\x1f\x8b" + bytes(2000), "compressed"),
    ],
)
def test_refused_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.mrcs").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_header(tmp_path / "a.mrcs")


def test_batch_sizes() -> None:
    assert [batch_size(box) for box in (32, 128, 256, 512, 800, 4096)] == [1024, 512, 128, 32, 16, 16]
