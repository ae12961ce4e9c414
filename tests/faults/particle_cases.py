"""Particles that no experiment has: wrong columns, values, image names and optics groups in a STAR file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.case import Case
from tests.ingest.samples import (
    N,
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


def fill(label: str, value: Any) -> Change:
    """Set one value of all particles."""
    return lambda particles, optics: particles.update({label: [value] * N})


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
    "tilt beyond float": (
        put("rlnAngleTilt", "1e400"),
        "row 5, column rlnAngleTilt: '(1e400|inf)' is not a finite number",
    ),
    "pose of units": (put("rlnAngleRot", "12deg"), "row 5, column rlnAngleRot: '12deg' is not a finite number"),
    "decimal comma": (put("rlnDefocusU", "10000,5"), "row 5, column rlnDefocusU: '10000,5' is not a finite number"),
    "hexadecimal pose": (put("rlnAngleRot", "0x1F"), "row 5, column rlnAngleRot: '0x1F' is not a finite number"),
    "pose is <NA>": (put("rlnAnglePsi", "<NA>"), "row 5, column rlnAnglePsi: '<NA>' is not a finite number"),
    "pose is true": (
        fill("rlnAnglePsi", "true"),
        "row 1, column rlnAnglePsi: '?[Tt]rue'? is not a finite number .and 7",
    ),
    "defocus in m": (fill("rlnDefocusU", 1.5e-6), "row 1, column rlnDefocusU: the largest defocus is 1.5e-06 Å"),
    "defocus in nm": (fill("rlnDefocusU", 1.5e9), "row 1, column rlnDefocusU: 1.5e.09 is not a defocus in Å .and 7"),
    "negative pixel size": (
        put_optics("rlnImagePixelSize", -1.5),
        "column rlnImagePixelSize: -1.5 is not a pixel size",
    ),
    "pixel size in nm": (put_optics("rlnImagePixelSize", 0.05), "column rlnImagePixelSize: 0.05 is not a pixel size"),
    "NaN pixel size": (put_optics("rlnImagePixelSize", "nan"), "column rlnImagePixelSize: 'nan' is not a finite"),
    "text voltage": (put_optics("rlnVoltage", "300kV"), "column rlnVoltage: '300kV' is not a finite number"),
    "negative contrast": (put_optics("rlnAmplitudeContrast", -0.1), "-0.1 is not an amplitude contrast"),
    "NaN magnification": (put_optics("rlnMagMat11", "nan"), "column rlnMagMat11: 'nan' is not a finite number"),
    "huge beam tilt": (
        put_optics("rlnBeamTiltX", 1e30),
        "row 1, column rlnBeamTiltX: 1e.30 is not a beam tilt in mrad",
    ),
    "NaN CTF scale": (put("rlnCtfScalefactor", "nan"), "row 5, column rlnCtfScalefactor: 'nan'"),
    "group 1.5": (put("rlnOpticsGroup", 1.5), "row 5, column rlnOpticsGroup: optics group 1.5 is not in data_optics"),
    "group NaN": (put("rlnOpticsGroup", "nan"), "row 5, column rlnOpticsGroup: optics group nan is not in data_optics"),
    "optics not numbered": (
        lambda p, o: o.pop("rlnOpticsGroup"),
        "column rlnOpticsGroup: data_optics lacks the column",
    ),
    "half set 1.5": (put("rlnRandomSubset", 1.5), "row 5, column rlnRandomSubset: 1.5 is not a half set"),
    "half set missing": (
        put("rlnRandomSubset", "None"),
        "row 5, column rlnRandomSubset: 'None' is not a finite number",
    ),
    "negative slice": (put("rlnImageName", "-1@a.mrcs"), "row 5, column rlnImageName: '-1@a.mrcs' is not number@stack"),
    "slice of twelve digits": (put("rlnImageName", "123456789012@a.mrcs"), "is not number@stack"),
    "Arabic digits": (put("rlnImageName", "٣@a.mrcs"), "is not number@stack"),
    "stack name of 500 letters": (put("rlnImageName", "1@" + "x" * 500), "File name too long"),
    "all stack names of 500 letters": (
        lambda p, o: p.update(rlnImageName=[f"{i + 1}@" + "x" * 500 for i in range(N)]),
        "row 1, column rlnImageName: the stack xxx.* does not exist; looked in",
    ),
    "all images of one stack missing": (
        lambda p, o: p.update(rlnImageName=[f"{i + 1}@Extract/job7/m.mrcs" for i in range(N)]),
        "row 1, column rlnImageName: the stack Extract/job7/m.mrcs does not exist; looked in .* Give the directory",
    ),
    "poses in the optics": (
        lambda p, o: o.update({k: p.pop(k)[:1] for k in ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")}),
        "column rlnAngleRot: the particles have no poses",
    ),
    "one particle": (
        lambda p, o: [p.update({k: v[:1]}) for k, v in list(p.items())],
        "two half sets need at least two particles",
    ),
    "no optics rows": (lambda p, o: o.update({k: [] for k in o}), "data_optics has no rows"),
}


def star(change: Change) -> Callable[[Path], object]:
    """Particles and optics groups that are changed before they are written."""

    def write(path: Path) -> None:
        particles, optics = particle_columns(), optics_columns()
        change(particles, optics)
        write_data_set(path.parent, particles=particles, optics=optics)

    return write


def old(**columns: list[Any]) -> Callable[[Path], object]:
    """A file of RELION 3.0 with some columns changed."""
    return lambda path: path.write_text(table("images", old_columns() | columns))


def two_boxes(group: int) -> Callable[[Path], object]:
    """One image of another box, in an optics group."""

    def write(path: Path) -> None:
        write_mrc(path.parent / "b.mrcs", noise_images(N, 20))
        columns, optics = particle_columns(), optics_columns(2)
        columns["rlnImageName"][3], columns["rlnOpticsGroup"][3] = "4@b.mrcs", group
        del optics["rlnImageSize"]
        write_data_set(path.parent, particles=columns, optics=optics)

    return write


PARTICLES = {
    **{name: Case("ingest", "particles.star", star(change), says) for name, (change, says) in COLUMN_FAULTS.items()},
    "box 20 among 16": Case(
        "ingest", "particles.star", two_boxes(1), "row 4, column rlnImageName: box 20 in an optics group of box 16"
    ),
    "box 20 in one half": Case(
        "ingest", "particles.star", two_boxes(2), r"half set 1 has images of box \[16\], half set 2 of box \[16, 20\]"
    ),
    "magnification 0": Case(
        "ingest",
        "particles.star",
        old(rlnMagnification=[4e4] * 3 + [0.0] + [4e4] * 4),
        "row 4, column rlnMagnification",
    ),
    "magnification -1": Case(
        "ingest", "particles.star", old(rlnMagnification=[-1.0] * N), "row 1, column rlnMagnification: -1 is not"
    ),
    "old file without voltage in kV": Case(
        "ingest", "particles.star", old(rlnVoltage=[2e5] * N), "row 1, column rlnVoltage: 200000 is not a voltage in kV"
    ),
    "root is no directory": Case(
        "ingest", "particles.star", lambda p: None, "is not a directory. Correct root", {"root": "nowhere"}, "nowhere"
    ),
    "root is a file": Case("ingest", "a.mrcs", lambda p: None, "is not a directory. Correct root", {"root": "a.mrcs"}),
    **{
        f"pixel size {size} in the configuration": Case(
            *("ingest", "particles.star", lambda p: None, "column pixel_size_angstrom: .* is not a pixel size"),
            {"pixel_size_angstrom": size},
        )
        for size in (0.0, -1.0, 100.0, float("nan"))
    },
    "too few for a kind of error": Case(
        *("plant", "particles.star", lambda p: None, "a rate of 0.01 makes none of its 8 particles junk"),
        {"plant": {"junk": 0.01}, "root": None, "pixel_size_angstrom": None},
    ),
}
