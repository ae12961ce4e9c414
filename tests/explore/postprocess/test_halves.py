"""Half maps that are none, and those whose headers disagree, are noticed; what is written lies where they lie."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryocore.errors import InputError
from cryocore.explore.postprocess import Halves, postprocess
from cryocore.explore.postprocess.halves import correlations, read_pair
from cryocore.maps import automatic_mask, read_map, write_map
from cryocore.maps.mrc import read_placement
from cryocore.maps.placement import Placement

BOX, PIXEL = 32, 4.0


def molecule(width: float = 20.0) -> np.ndarray:
    z, y, x = np.ogrid[-16:16, -16:16, -16:16]
    return 5.0 * np.exp(-(x**2 + y**2 + 2 * z**2) / width)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(BOX,) * 3)


def write_halves(folder: Path, one: np.ndarray, two: np.ndarray, **second: object) -> Halves:
    write_map(folder / "half1.mrc", one, PIXEL)
    write_map(folder / "half2.mrc", two, **{"pixel_size_angstrom": PIXEL, **second})
    return Halves(folder / "half1.mrc", folder / "half2.mrc")


@pytest.fixture
def halves(tmp_path: Path) -> Halves:
    return write_halves(tmp_path, molecule() + noise(1), molecule() + noise(2))


def test_two_voxel_sizes_are_refused_in_either_order(tmp_path: Path) -> None:
    given = write_halves(tmp_path, molecule() + noise(1), molecule() + noise(2), pixel_size_angstrom=8.0)
    with pytest.raises(InputError, match=r"half2.mrc: its voxels are 8 Å wide, those of .*half1.mrc 4 Å.*--pixel-size"):
        read_pair(given)
    with pytest.raises(InputError, match=r"half1.mrc: its voxels are 4 Å wide, those of .*half2.mrc 8 Å"):
        read_pair(Halves(given.half2, given.half1))
    assert read_pair(Halves(given.half1, given.half2, pixel_size_angstrom=5.0)).pixel_size_angstrom == 5.0


def test_a_rounded_voxel_size_is_the_same(tmp_path: Path) -> None:
    given = write_halves(tmp_path, molecule() + noise(1), molecule() + noise(2), pixel_size_angstrom=PIXEL * 1.001)
    assert read_pair(given).pixel_size_angstrom == PIXEL


def test_a_voxel_size_that_programs_write_without_knowing_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path, seed in ((tmp_path / "half1.mrc", 1), (tmp_path / "half2.mrc", 2)):
        write_map(path, molecule() + noise(seed), 1.0)
    given = Halves(tmp_path / "half1.mrc", tmp_path / "half2.mrc")
    assert read_pair(given).pixel_size_angstrom == 1.0
    assert "header says that voxels are 1 Å wide" in caplog.text and "--pixel-size" in caplog.text
    caplog.clear()
    read_pair(replace(given, pixel_size_angstrom=1.0))
    assert not caplog.text


def test_no_voxel_size_names_the_option(tmp_path: Path) -> None:
    given = write_halves(tmp_path, molecule() + noise(1), molecule() + noise(2), pixel_size_angstrom=0.0)
    with pytest.raises(InputError, match=r"half2.mrc: the header gives no voxel size .*--pixel-size"):
        read_pair(given)


@pytest.mark.parametrize(
    "copied",
    [
        lambda v: v,
        lambda v: 3.7 * v,
        lambda v: v + 2.0,
        lambda v: v.astype(np.float16).astype(np.float32),
    ],
)
def test_one_map_twice(tmp_path: Path, copied: Callable[[np.ndarray], np.ndarray]) -> None:
    one = (molecule() + noise(1)).astype(np.float32)
    with pytest.raises(InputError, match="both half maps are the same map"):
        read_pair(write_halves(tmp_path, one, copied(one)))
    (tmp_path / "zipped.mrc").write_bytes(gzip.compress((tmp_path / "half1.mrc").read_bytes()))
    with pytest.raises(InputError, match="both half maps are the same map"):
        read_pair(Halves(tmp_path / "half1.mrc", tmp_path / "zipped.mrc"))


def test_a_full_map_as_a_half_map(tmp_path: Path, halves: Halves) -> None:
    full = 0.5 * (read_map(halves.half1)[0] + read_map(halves.half2)[0])
    write_map(tmp_path / "full.mrc", full, PIXEL)
    for given in (Halves(halves.half1, tmp_path / "full.mrc"), Halves(tmp_path / "full.mrc", halves.half2)):
        done = postprocess(given, tmp_path / "out")
        assert done.noise_correlation == pytest.approx(np.sqrt(0.5), abs=0.03)
        assert "Warning: outside the molecule the noise of the half maps correlates by 0.7" in done.text
        assert done.as_dict()["noise_correlation"] == done.noise_correlation
    done = postprocess(halves, tmp_path / "right")
    assert abs(done.noise_correlation) < 0.05 and "Warning" not in done.text


def test_noise_correlation_is_that_of_the_solvent() -> None:
    """Independent noise: near 0 whatever the molecule; None where a mask left nothing."""
    for seed in range(5):
        one, two = (100 * molecule() + noise(10 * seed + i) for i in (1, 2))
        everywhere, outside = correlations(one.astype(np.float32), two.astype(np.float32))
        assert everywhere > 0.99 and abs(outside) < 0.05
    ball = automatic_mask(molecule(), PIXEL)
    inside, outside = correlations(*((molecule() + noise(i)).astype(np.float32) * (ball > 0.5) for i in (1, 2)))
    assert inside > 0.4 and outside is None


def test_results_lie_where_the_half_maps_lie(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = Placement(PIXEL, (1, 2, 3), (-64.0, -64.0, -60.0))
    given = write_halves(tmp_path, molecule() + noise(1), molecule() + noise(2), placement=place)
    write_map(given.half1, molecule() + noise(1), PIXEL, place)
    with caplog.at_level(logging.WARNING, "cryocore.maps.placement"):
        postprocess(given, tmp_path / "out")
    assert not caplog.records
    for name in ("postprocess", "postprocess_masked", "mask"):
        assert read_placement(tmp_path / "out" / f"{name}.mrc") == place
        with mrcfile.open(tmp_path / "out" / f"{name}.mrc") as mrc:
            assert [float(mrc.header.origin[a]) for a in "xyz"] == [-64.0, -64.0, -60.0]


def test_other_places_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = Placement(PIXEL, (0, 0, 0), (8.0, 0.0, 0.0))
    given = write_halves(tmp_path, molecule() + noise(1), molecule() + noise(2), placement=elsewhere)
    read_pair(given)
    assert "half2.mrc: by origin or start in its header its first voxel is (2, 0, 0)" in caplog.text
    caplog.clear()
    write_map(tmp_path / "mask.mrc", automatic_mask(molecule(), PIXEL), PIXEL, Placement(PIXEL, (4, 0, 0)))
    write_map(given.half2, molecule() + noise(2), PIXEL)
    postprocess(Halves(given.half1, given.half2, tmp_path / "mask.mrc"), tmp_path / "out")
    assert "mask.mrc: by origin or start in its header its first voxel is (4, 0, 0)" in caplog.text


@pytest.mark.parametrize("size, is_refused", [(8.0, True), (4.2, True), (4.004, False), (1.0, False), (0.0, False)])
def test_mask_of_another_voxel_size(tmp_path: Path, halves: Halves, size: float, is_refused: bool) -> None:
    write_map(tmp_path / "mask.mrc", automatic_mask(molecule(), PIXEL), size)
    given = Halves(halves.half1, halves.half2, tmp_path / "mask.mrc")
    if is_refused:
        with pytest.raises(InputError, match=rf"mask.mrc: its voxels are {size:g} Å wide, those of the maps 4 Å"):
            postprocess(given, tmp_path / "out")
    else:
        assert postprocess(given, tmp_path / "out").curves.metadata["pixel_size_angstrom"] == PIXEL


def test_a_mask_of_nearly_the_voxel_size_is_told(
    tmp_path: Path, halves: Halves, caplog: pytest.LogCaptureFixture
) -> None:
    write_map(tmp_path / "mask.mrc", automatic_mask(molecule(), PIXEL), 1.01 * PIXEL)
    postprocess(Halves(halves.half1, halves.half2, tmp_path / "mask.mrc"), tmp_path / "out")
    assert "mask.mrc: its voxels are 4.04 Å wide, those of the maps 4 Å; the latter counts" in caplog.text
