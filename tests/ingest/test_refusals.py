"""Whatever is wrong with the particles of a user is refused at the door, with its file, row, column and remedy."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryocore.errors import InputError
from tests.ingest.samples import (
    BOX,
    N,
    load,
    noise_images,
    old_columns,
    optics_columns,
    particle_columns,
    table,
    write_data_set,
    write_mrc,
)

Change = Callable[[dict[str, list[Any]], dict[str, list[Any]]], object]


def put(label: str, value: Any, row: int = 4) -> Change:
    """Set one value of one particle (row from 0)."""

    def change(particles: dict[str, list[Any]], optics: dict[str, list[Any]]) -> None:
        particles.setdefault(label, [0.0] * N)[row] = value

    return change


def put_optics(label: str, value: Any) -> Change:
    return lambda particles, optics: optics.update({label: [value]})


def drop(*labels: str) -> Change:
    return lambda particles, optics: [t.pop(label) for label in labels for t in (particles, optics) if label in t]


COLUMN_FAULTS: dict[str, tuple[Change, str]] = {
    "no rot": (drop("rlnAngleRot"), "column rlnAngleRot: the particles have no poses. Refine"),
    "no tilt": (drop("rlnAngleTilt"), "column rlnAngleTilt: the particles have no poses"),
    "no psi": (drop("rlnAnglePsi"), "column rlnAnglePsi: the particles have no poses"),
    "2-D poses": (
        lambda p, o: p.update({"rlnAngleRot": [0.0] * N, "rlnAngleTilt": [0.0] * N}),
        "rot and tilt are 0 in every row",
    ),
    "NaN pose": (put("rlnAnglePsi", "nan"), "row 5, column rlnAnglePsi: 'nan' is not a finite number"),
    "text pose": (put("rlnAngleTilt", "steep"), "row 5, column rlnAngleTilt: 'steep' is not a finite number"),
    "one origin": (drop("rlnOriginYAngst"), "column rlnOriginYAngst: the column is missing"),
    "infinite origin": (put("rlnOriginXAngst", "inf"), "row 5, column rlnOriginXAngst: 'inf' is not"),
    "no defocus": (drop("rlnDefocusU"), "column rlnDefocusU: the particles have no defocus"),
    "NaN defocus": (put("rlnDefocusV", "nan"), "row 5, column rlnDefocusV"),
    "huge defocus": (put("rlnDefocusU", 5e6), "row 5, column rlnDefocusU: 5e.06 is not a defocus in Å"),
    "defocus in µm": (lambda p, o: p.update(rlnDefocusU=[1.5] * N), "row 1, column rlnDefocusU: .* look like µm"),
    "beyond float32": (put("rlnCtfBfactor", 1e39), "row 5, column rlnCtfBfactor: '1e.39' is not a finite"),
    "NaN phase shift": (put("rlnPhaseShift", "nan"), "row 5, column rlnPhaseShift"),
    "no pixel size": (drop("rlnImagePixelSize"), "nothing in the file gives the pixel size"),
    "zero pixel size": (put_optics("rlnImagePixelSize", 0.0), "column rlnImagePixelSize: 0 is not a pixel size in Å"),
    "huge pixel size": (put_optics("rlnImagePixelSize", 1338.0), "1338 is not a pixel size in Å .0.1 to 50.0."),
    "voltage in V": (put_optics("rlnVoltage", 300000), "column rlnVoltage: 300000 is not a voltage in kV"),
    "zero voltage": (put_optics("rlnVoltage", 0.0), "row 1, column rlnVoltage: 0 is not a voltage in kV .60 to 1500."),
    "NaN voltage": (put_optics("rlnVoltage", "nan"), "row 1, column rlnVoltage: 'nan' is not a finite"),
    "Cs in Å": (put_optics("rlnSphericalAberration", 2.7e7), "column rlnSphericalAberration"),
    "contrast in percent": (put_optics("rlnAmplitudeContrast", 10.0), "10 is not an amplitude contrast"),
    "singular magnification": (put_optics("rlnMagMat00", 0.0), "column rlnMagMat00: 0 is not the determinant"),
    "bad Zernike": (put_optics("rlnOddZernike", "[1,two]"), "'.1,two.' is not a list of finite numbers"),
    "unknown group": (put("rlnOpticsGroup", 9), "row 5, column rlnOpticsGroup: optics group 9 is not in data_optics"),
    "group is text": (put("rlnOpticsGroup", "first"), "row 5, column rlnOpticsGroup: optics group first is not"),
    "groups alike": (
        lambda p, o: o.update({k: v * 2 for k, v in o.items()}),
        "column rlnOpticsGroup: data_optics numbers its groups badly",
    ),
    "no group column": (
        lambda p, o: (p.pop("rlnOpticsGroup"), o.update(optics_columns(2))),
        "column rlnOpticsGroup: missing, with 2 optics groups",
    ),
    "half set 3": (put("rlnRandomSubset", 3), "row 5, column rlnRandomSubset: 3 is not a half set"),
    "half set 0": (put("rlnRandomSubset", 0), "row 5, column rlnRandomSubset: 0 is not"),
    "same image twice": (
        put("rlnImageName", "000002@a.mrcs"),
        "row 5, column rlnImageName: '000002@a.mrcs' is the image of row 2 already",
    ),
    "same image, other spelling": (put("rlnImageName", "2@./a.mrcs"), "row 5, column rlnImageName: .* image of row 2"),
    "no slice": (put("rlnImageName", "a.mrcs"), "row 5, column rlnImageName: 'a.mrcs' is not number@stack"),
    "no stack": (put("rlnImageName", "5@"), "row 5, column rlnImageName: '5@' is not number@stack"),
    "odd number": (put("rlnImageName", "0x5@a.mrcs"), "'0x5@a.mrcs' is not number@stack"),
    "slice 0": (put("rlnImageName", "000000@a.mrcs"), "row 5, column rlnImageName: 0 is not an image number"),
    "slice 9 of 8": (put("rlnImageName", "9@a.mrcs"), "row 5, column rlnImageName: image 9 of a.mrcs, which has 8"),
    "missing stack": (put("rlnImageName", "1@b.mrcs"), r"b\.mrcs, row 5, .*cannot be read \(No such file.*rows 5 to 5"),
    "stack is a directory": (put("rlnImageName", "1@."), "row 5, .*cannot be read .Is a directory"),
    "other box declared": (put_optics("rlnImageSize", 20), "row 1, column rlnImageSize: says 20 but .* 16 pixels"),
    "3-D images": (put_optics("rlnImageDimensionality", 3), "column rlnImageDimensionality: the images are 3-D"),
    "tomogram": (put("rlnTomoName", "TS_1"), "column rlnTomoName: these are subtomograms"),
}


@pytest.mark.parametrize("fault", COLUMN_FAULTS)
def test_refused_columns(tmp_path: Path, fault: str) -> None:
    change, message = COLUMN_FAULTS[fault]
    particles, optics = particle_columns(), optics_columns()
    change(particles, optics)
    star = write_data_set(tmp_path, particles=particles, optics=optics)
    with pytest.raises(InputError, match=message) as error:
        load(star)
    assert str(tmp_path) in str(error.value)
    assert len(error.value.remedy) > 5


def test_an_empty_optics_block_is_refused(tmp_path: Path) -> None:
    star = write_data_set(tmp_path, optics={k: [] for k in optics_columns()})
    with pytest.raises(InputError, match="data_optics has no rows"):
        load(star)


@pytest.mark.parametrize("magnification", [0.0, -1.0])
def test_a_magnification_of_nothing_is_refused(tmp_path: Path, magnification: float) -> None:
    star = write_data_set(tmp_path)
    star.write_text(table("images", old_columns() | {"rlnMagnification": [4e4] * 3 + [magnification] + [4e4] * 4}))
    with pytest.raises(InputError, match="row 4, column rlnMagnification"):
        load(star)
    assert load(star, pixel_size_angstrom=1.0).optics[0].pixel_size_angstrom == 1.0


@pytest.mark.parametrize("pixel_size", [0.0, math.nan, -1.0, 100.0])
def test_an_absurd_override_is_refused(tmp_path: Path, pixel_size: float) -> None:
    with pytest.raises(InputError, match=r"column pixel_size_angstrom: .* is not a pixel size"):
        load(write_data_set(tmp_path), pixel_size_angstrom=pixel_size)


IMAGE_FAULTS: dict[str, tuple[tuple[int, int], str]] = {
    "not square": ((16, 18), "row 1: the images are 18 x 16, not square .8 particles"),
    "odd": ((17, 17), "row 1: the images are 17 x 17, of odd side"),
}


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_refused_shapes(tmp_path: Path, fault: str) -> None:
    shape, message = IMAGE_FAULTS[fault]
    write_mrc(tmp_path / "a.mrcs", np.zeros((N, *shape)))
    with pytest.raises(InputError, match=message):
        load(write_data_set(tmp_path))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refused_pixels(tmp_path: Path, value: float) -> None:
    images = noise_images()
    images[6, 3, 3] = value
    write_mrc(tmp_path / "a.mrcs", images)
    with pytest.raises(InputError, match=r"row 7, column rlnImageName: image 7 of a\.mrcs has NaN or infinite"):
        load(write_data_set(tmp_path))


def test_truncated_stacks_are_refused_before_reading(tmp_path: Path) -> None:
    star = write_data_set(tmp_path)
    with (tmp_path / "a.mrcs").open("r+b") as file:
        file.truncate(1024 + 5 * BOX * BOX * 4)
    with pytest.raises(InputError, match=r"a\.mrcs, row 1, .*truncated: 6144 bytes .*rows 1 to 8 of .*, 8 particles"):
        load(star)


def test_one_box_in_an_optics_group_and_the_same_in_both_halves(tmp_path: Path) -> None:
    write_mrc(tmp_path / "b.mrcs", noise_images(8, 20))
    columns = particle_columns()
    columns["rlnImageName"][3] = "4@b.mrcs"
    optics = optics_columns(2)
    del optics["rlnImageSize"]
    with pytest.raises(InputError, match="row 4, column rlnImageName: box 20 in an optics group of box 16"):
        load(write_data_set(tmp_path, particles=columns, optics=optics))
    columns["rlnOpticsGroup"][3] = 2
    with pytest.raises(InputError, match=r"half set 1 has images of box \[16\], half set 2 of box \[16, 20\]"):
        load(write_data_set(tmp_path, particles=columns, optics=optics))
