"""MRC files: the same bytes every time, what others can read, and refusals that say what to do."""

from __future__ import annotations

import gzip

import mrcfile
import numpy as np
import pytest

from cryocore.errors import InputError
from cryocore.maps import read_map, write_map, write_stack
from cryocore.maps.mrc import read_placement


@pytest.fixture
def volume():
    return np.random.default_rng(0).normal(size=(6, 6, 6)).astype(np.float32)


def test_round_trip(tmp_path, volume):
    write_map(tmp_path / "a.mrc", volume, 1.25)
    read, pixel = read_map(tmp_path / "a.mrc")
    np.testing.assert_array_equal(read, volume)
    assert pixel == pytest.approx(1.25, rel=1e-6)


def test_same_input_same_bytes(tmp_path, volume):
    for name in ("a.mrc", "b.mrc"):
        write_map(tmp_path / name, volume, 1.25)
    assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()


def test_volume_header(tmp_path, volume):
    write_map(tmp_path / "a.mrc", volume, 1.25)
    assert mrcfile.validate(tmp_path / "a.mrc")
    with mrcfile.open(tmp_path / "a.mrc") as mrc:
        header = mrc.header
        assert (int(header.ispg), int(header.mz), int(header.nlabl)) == (1, 6, 1)
        assert [int(header[f"n{a}start"]) for a in "xyz"] == [0, 0, 0]
        assert [float(header.origin[a]) for a in "xyz"] == [0.0, 0.0, 0.0]
        assert float(header.dmean) == pytest.approx(volume.mean(), abs=1e-7)
        assert float(header.rms) == pytest.approx(volume.std(), rel=1e-6)
        assert (float(header.dmin), float(header.dmax)) == (volume.min(), volume.max())


@pytest.mark.parametrize("dtype, mode", [(np.float32, 2), (np.float16, 12)])
def test_stack(tmp_path, dtype, mode):
    images = np.random.default_rng(1).normal(size=(5, 8, 8))
    write_stack(tmp_path / "a.mrcs", iter(images), 2.0, dtype)
    write_stack(tmp_path / "b.mrcs", [images[:2], images[2:]], 2.0, dtype)
    assert (tmp_path / "a.mrcs").read_bytes() == (tmp_path / "b.mrcs").read_bytes()
    with mrcfile.open(tmp_path / "a.mrcs") as mrc:
        assert mrc.is_image_stack() and int(mrc.header.mode) == mode
        assert float(mrc.voxel_size.x) == pytest.approx(2.0)
        np.testing.assert_array_equal(mrc.data, images.astype(dtype))


def test_stack_of_unequal_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="every image"):
        write_stack(tmp_path / "a.mrcs", [np.zeros((4, 4)), np.zeros((5, 5))], 1.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [np.int8, np.int16, np.uint16, np.float16])
def test_other_modes(tmp_path, mode):
    data = np.arange(27).reshape(3, 3, 3).astype(mode)
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(data)
        mrc.voxel_size = 3.0
    read, _ = read_map(tmp_path / "a.mrc")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, data.astype(np.float32))


def test_gzip_under_any_name(tmp_path, volume):
    write_map(tmp_path / "a.mrc", volume, 1.5)
    (tmp_path / "b.mrc").write_bytes(gzip.compress((tmp_path / "a.mrc").read_bytes()))
    np.testing.assert_array_equal(read_map(tmp_path / "b.mrc")[0], volume)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 1, 3), (3, 2, 1)])
def test_axis_order(tmp_path, order):
    """However the axes are stored, the array is [z, y, x]."""
    volume = np.random.default_rng(2).normal(size=(3, 4, 5)).astype(np.float32)  # z, y, x
    columns, rows, sections = order
    stored = volume.transpose([3 - sections, 3 - rows, 3 - columns])
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(stored)
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = order
        mrc.header.mx, mrc.header.my, mrc.header.mz = 5, 4, 3
        mrc.header.cella = (10.0, 8.0, 6.0)
    read, pixel = read_map(tmp_path / "a.mrc", cubic=False)
    np.testing.assert_array_equal(read, volume)
    assert pixel == pytest.approx(2.0)


@pytest.mark.parametrize(
    "name, shape, pixel",
    [
        ("emd_3001.map", (73, 25, 43), 1.43),
        ("emd_8216.map.gz", (83, 50, 100), 1.51),
        ("emd_3197.map", (20, 20, 20), 11.4),
    ],
)
def test_real_maps(shared_data, name, shape, pixel):
    volume, size = read_map(shared_data / "maps" / name, pixel_size_angstrom=pixel, cubic=False)
    assert volume.shape == shape and size == pixel


def test_image_flag_on_a_real_volume(shared_data):
    volume, pixel = read_map(shared_data / "maps" / "emd_0093_hcn4_zone4A_220.mrc.gz")
    assert volume.shape == (220, 220, 220) and pixel == pytest.approx(1.34, rel=1e-4)


def test_no_voxel_size(shared_data):
    path = shared_data / "maps" / "ribosome70s_65.mrc"
    with pytest.raises(InputError, match=r"no voxel size.*Write it into the header"):
        read_map(path)
    assert read_map(path, pixel_size_angstrom=5.0)[1] == 5.0


def edit(path, offset, values, dtype="<i4"):
    content = bytearray(path.read_bytes())
    raw = np.array(values, dtype=dtype).tobytes()
    content[offset : offset + len(raw)] = raw
    path.write_bytes(content)


@pytest.mark.parametrize(
    "fault, message",
    [
        (lambda p: p.unlink(), "does not exist"),
        (lambda p: p.write_bytes(b"not a map" * 200), "not an MRC map: it is text"),
        (lambda p: p.write_bytes(b""), "not an MRC map: it has 0 bytes"),
        (lambda p: p.write_bytes(p.read_bytes()[:-4]), "truncated"),
        (lambda p: edit(p, 0, [2**30, 2**30, 2**30]), "size 1073741824 x 1073741824 x 1073741824"),
        (lambda p: edit(p, 0, [-6]), "size"),
        (lambda p: edit(p, 8, [0]), "size"),
        (lambda p: edit(p, 12, [4]), "mode 4"),
        (lambda p: edit(p, 64, [1, 1, 3]), "axis order"),
        (lambda p: edit(p, 92, [-5]), "not a readable MRC"),
        (lambda p: (edit(p, 36, [3]), edit(p, 88, [401])), "series of volumes"),
        (lambda p: (edit(p, 36, [3]), edit(p, 88, [630])), "series of volumes"),
        (lambda p: edit(p, 1024, [np.nan], "<f4"), "NaN"),
        (lambda p: edit(p, 40, [6.0, 6.0, 12.0], "<f4"), "not a cube"),
        (lambda p: p.write_bytes(gzip.compress(p.read_bytes())[:-200]), "not a readable MRC|truncated"),
    ],
)
def test_broken_files(tmp_path, volume, fault, message):
    path = tmp_path / "a.mrc"
    write_map(path, volume, 1.0)
    fault(path)
    with pytest.raises(InputError, match=message) as caught:
        read_map(path)
    assert caught.value.file == str(path) and caught.value.fix


def test_not_cubic(tmp_path):
    write_map(tmp_path / "a.mrc", np.zeros((4, 4, 6)), 1.0)
    with pytest.raises(InputError, match="6 x 4 x 4, not a cube"):
        read_map(tmp_path / "a.mrc")


def test_one_image_is_no_volume(tmp_path):
    write_stack(tmp_path / "one.mrcs", np.ones((1, 8, 8), dtype=np.float32), 1.0)
    with pytest.raises(InputError, match="it holds one image"):
        read_map(tmp_path / "one.mrcs", cubic=False)
    write_map(tmp_path / "two.mrc", np.ones((2, 8, 8)), 1.0)
    assert read_map(tmp_path / "two.mrc", cubic=False)[0].shape == (2, 8, 8)


IMOD = 1146047817


@pytest.mark.parametrize(
    "fields, is_signed",
    [
        ([0, 0], True),
        ([IMOD, 0], False),
        ([IMOD, 1], True),
        ([IMOD, 2], False),
        ([IMOD, 7], True),
    ],
)
def test_bytes_are_signed_as_imods_flags_say(tmp_path, fields, is_signed):
    data = np.arange(216).reshape(6, 6, 6).astype(np.uint8)
    write_map(tmp_path / "a.mrc", np.zeros((6, 6, 6)), 1.5)
    raw = (tmp_path / "a.mrc").read_bytes()
    (tmp_path / "a.mrc").write_bytes(raw[:1024] + data.tobytes())
    edit(tmp_path / "a.mrc", 12, [0])
    edit(tmp_path / "a.mrc", 76, [0.0, 0.0], "<f4")
    edit(tmp_path / "a.mrc", 152, fields)
    edit(tmp_path / "a.mrc", 220, [0])
    expected = data.view(np.int8) if is_signed else data
    np.testing.assert_array_equal(read_map(tmp_path / "a.mrc")[0], expected.astype(np.float32))
    # a maximum of 255 is of unsigned bytes, whoever wrote it
    edit(tmp_path / "a.mrc", 76, [0.0, 215.0], "<f4")
    np.testing.assert_array_equal(read_map(tmp_path / "a.mrc")[0], data.astype(np.float32))


def test_bytes_of_two_numbers_are_refused(tmp_path, volume):
    write_map(tmp_path / "a.mrc", volume, 1.5)
    edit(tmp_path / "a.mrc", 12, [0])
    edit(tmp_path / "a.mrc", 152, [IMOD, 16])
    with pytest.raises(InputError, match=r"mode 101 is not one of .*4-bit numbers"):
        read_map(tmp_path / "a.mrc")


@pytest.mark.parametrize("kind", ["FEI1", "FEI2", "SERI", "AGAR", "CCP4", "MRCO", "HDF5"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_extended_headers_are_skipped(tmp_path, volume, kind, order):
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(volume.astype(f"{order}f4"))
        mrc.set_extended_header(np.frombuffer(bytes(range(256)) * 5, dtype="V1280"))
        mrc.header.exttyp = kind.encode()
        mrc.voxel_size = 2.0
    read, pixel = read_map(tmp_path / "a.mrc")
    np.testing.assert_array_equal(read, volume)
    assert pixel == pytest.approx(2.0)


@pytest.mark.parametrize(
    "offset, values",
    [
        (88, [0]),  # ChimeraX, cryoSPARC: space group of images
        (88, [401]),  # a series of one volume
        (208, [0]),  # no "MAP "
        (212, [0]),  # no machine stamp, as of cryoDRGN
        (212, [0x20202044]),  # SerialEM, IMOD
        (212, [0x00004144]),
        (212, [0x00001111]),  # of the other byte order
        (64, [0, 0, 0]),  # no axes
    ],
)
def test_headers_of_other_programs(tmp_path, volume, offset, values):
    write_map(tmp_path / "a.mrc", volume, 1.5)
    edit(tmp_path / "a.mrc", offset, values)
    read, pixel = read_map(tmp_path / "a.mrc")
    np.testing.assert_array_equal(read, volume)
    assert pixel == pytest.approx(1.5)


def test_a_volume_flagged_as_images_has_its_depth(tmp_path, volume):
    write_map(tmp_path / "a.mrc", volume, 1.5)
    edit(tmp_path / "a.mrc", 36, [1])
    edit(tmp_path / "a.mrc", 88, [0])
    assert read_map(tmp_path / "a.mrc")[1] == pytest.approx(1.5)
    edit(tmp_path / "a.mrc", 48, [1.5], "<f4")
    assert read_map(tmp_path / "a.mrc")[1] == pytest.approx(1.5)


def test_place_is_kept(tmp_path, volume):
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(volume)
        mrc.voxel_size = 2.0
        mrc.header.origin = (10.0, -20.0, 30.0)
        mrc.nstart = (1, 2, 3)
    place = read_placement(tmp_path / "a.mrc")
    assert (place.start, place.origin_angstrom) == ((1, 2, 3), (10.0, -20.0, 30.0))
    assert place.first_voxel(2.0) == (5.0, -10.0, 15.0)
    write_map(tmp_path / "b.mrc", volume, 2.0, place)
    with mrcfile.open(tmp_path / "b.mrc") as mrc:
        assert mrcfile.validate(tmp_path / "b.mrc")
        assert [float(mrc.header.origin[a]) for a in "xyz"] == [10.0, -20.0, 30.0]
        assert [int(mrc.nstart[a]) for a in "xyz"] == [1, 2, 3]
    # starts are counted along columns, rows and sections
    edit(tmp_path / "b.mrc", 64, [3, 2, 1])
    edit(tmp_path / "b.mrc", 196, [np.nan, 0.0, 0.0], "<f4")
    assert read_placement(tmp_path / "b.mrc").first_voxel(2.0) == (3, 2, 1)
