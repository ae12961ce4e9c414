"""What an optics group can say, one thing after the other, against RELION: its projections, and its maps of ours.

``relion_project`` applies the CTF and all that enters it. ``relion_reconstruct`` takes back what moves phases or
scales as well; its images are made here from blobs in closed form.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from cryocore.backend import get_backend
from cryocore.config.reconstruct import Reconstruct
from cryocore.conventions import electron_wavelength_angstrom
from cryocore.imaging.aberrations import zernike_sum
from cryocore.imaging.ctf import ctf
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.prepare import prepare
from cryocore.imaging.slices import project
from cryocore.imaging.volumes import map_to_grid
from cryocore.ingest.particles import ingest
from cryocore.maps.fsc import fsc
from cryocore.maps.mrc import read_map, write_map, write_stack
from cryocore.reconstruct import reconstruct
from cryocore.tables.particles import Optics, Particles
from tests.phantoms import Blobs, used_samples

pytestmark = pytest.mark.skipif(shutil.which("relion_reconstruct") is None, reason="no relion_reconstruct on the PATH")

BOX, PIXEL_ANGSTROM = 48, 1.5
OPTICS = {
    "rlnVoltage": 300,
    "rlnSphericalAberration": 2.7,
    "rlnAmplitudeContrast": 0.1,
    "rlnImagePixelSize": PIXEL_ANGSTROM,
    "rlnImageSize": BOX,
    "rlnImageDimensionality": 2,
}
TILT = {"rlnBeamTiltX": 2.0, "rlnBeamTiltY": -1.5}
OTHER_TILT = {"rlnBeamTiltX": -2.0, "rlnBeamTiltY": 1.5}
NO_TILT = {"rlnBeamTiltX": 0.0, "rlnBeamTiltY": 0.0}
ODD = {"rlnOddZernike": "[0.5,0.2,3.0,-2.0,4.0,1.0]"}
EVEN = {"rlnEvenZernike": "[0.3,2.0,1.5,-2.0,0.1,0.2,3.0,2.0,1.0]"}
MAGNIFICATION = {"rlnMagMat00": 1.03, "rlnMagMat01": 0.05, "rlnMagMat10": -0.02, "rlnMagMat11": 0.97}
Values = Mapping[str, Any]


def star(path: Path, n: int, groups: Sequence[Values], rows: Values | None = None) -> Path:
    """A RELION 3.1 file of random poses; particle i is in group i mod the number of groups."""
    rng, rows = np.random.default_rng(0), rows or {}
    tables = [{"rlnOpticsGroup": g, "rlnOpticsGroupName": f"group{g}", **OPTICS, **v} for g, v in enumerate(groups, 1)]
    particles = []
    for i in range(n):
        group, u = i % len(groups), rng.uniform(6000, 9000)
        row = {
            "rlnImageName": f"{i // len(groups) + 1:06d}@images{group}.mrcs",
            "rlnAngleRot": rng.uniform(-180, 180),
            "rlnAngleTilt": np.degrees(np.arccos(rng.uniform(-1, 1))),
            "rlnAnglePsi": rng.uniform(-180, 180),
            "rlnOriginXAngst": rng.uniform(-4, 4),
            "rlnOriginYAngst": rng.uniform(-4, 4),
            "rlnDefocusU": u,
            "rlnDefocusV": u - rng.uniform(0, 800),
            "rlnDefocusAngle": rng.uniform(0, 180),
            "rlnOpticsGroup": group + 1,
            "rlnRandomSubset": 1 + i // len(groups) % 2,
        }
        particles.append({**row, **{label: values[i] for label, values in rows.items()}})
    path.write_text(table("optics", tables) + table("particles", particles))
    return path


def table(name: str, rows: Sequence[Values]) -> str:
    labels = "".join(f"_{label} #{i}\n" for i, label in enumerate(rows[0], start=1))
    return f"\ndata_{name}\n\nloop_\n{labels}" + "".join(" ".join(map(str, r.values())) + "\n" for r in rows) + "\n"


def relion(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def read(path: Path) -> Particles:
    return ingest(path, root=None, pixel_size_angstrom=None, seed=0)


N_PROJECTED = 12
SPREAD = np.linspace(0.0, 1.0, N_PROJECTED)
PROJECTED: dict[str, tuple[Values, Values, str]] = {
    "even Zernike": (EVEN, {}, ""),
    "B-factor": ({}, {"rlnCtfBfactor": 10 + 50 * SPREAD}, ""),
    "B-factor of the group": ({"rlnCtfBfactor": 60}, {}, ""),
    "scale": ({}, {"rlnCtfScalefactor": 0.4 + SPREAD}, ""),
    "phase shift": ({}, {"rlnPhaseShift": 10 + 110 * SPREAD}, ""),
    "phase shift of the group": ({"rlnPhaseShift": 60}, {}, ""),
    "phase shift, row before group": ({"rlnPhaseShift": 60}, {"rlnPhaseShift": 10 + 110 * SPREAD}, ""),
    "voltage, row before group": ({}, {"rlnVoltage": 200 + 0 * SPREAD}, ""),
    "Cs, row before group": ({}, {"rlnSphericalAberration": 0.5 + 0 * SPREAD}, ""),
    "amplitude contrast, row before group": ({}, {"rlnAmplitudeContrast": 0.5 + 0 * SPREAD}, ""),
    "phases flipped": ({"rlnCtfDataArePhaseFlipped": 1}, {}, "--ctf_phase_flip"),
    "premultiplied": ({"rlnCtfDataAreCtfPremultiplied": 1}, {}, "--ctf2"),
}


@pytest.mark.parametrize("feature", PROJECTED)
def test_predictions_are_those_of_relion(tmp_path: Path, feature: str) -> None:
    volume = Blobs.random(20, spread=4.0, width=1.2).map(BOX)
    group, rows, option = PROJECTED[feature]
    write_map(tmp_path / "map.mrc", volume, PIXEL_ANGSTROM)
    given = star(tmp_path / "given.star", N_PROJECTED, [group], rows)
    command = ["relion_project", "--i", "map.mrc", "--ang", given.name, "--o", "images0", "--ctf"]
    relion(*command, "--angpix", str(PIXEL_ANGSTROM), *filter(None, [option]), cwd=tmp_path)
    left_out = star(tmp_path / "left_out.star", N_PROJECTED, [{}])
    assert disagreement(given, volume) < 2e-3
    assert disagreement(left_out, volume) > 0.02  # ten times as much


def disagreement(file: Path, volume: np.ndarray) -> float:
    """Images less their predictions, over the predictions, as norms."""
    data, backend, grid = read(file), get_backend("cpu"), FourierGrid.of(BOX, PIXEL_ANGSTROM, 2.0)
    images, frame = mrcfile.read(file.with_name("images0.mrcs")), ImageGeometry.of(data.optics[0], grid)
    batch = prepare(images, data, frame, backend)
    half, used = np.zeros(len(data), dtype=np.int32), used_samples(frame.limit)
    slices = project(map_to_grid(volume, grid)[None], data.rotations, half, frame, backend)
    predicted = np.asarray(batch.ctf * slices)[:, used]
    return float(np.linalg.norm(np.asarray(batch.image)[:, used] - predicted) / np.linalg.norm(predicted))


N_RECONSTRUCTED = 300
OTHER_SCALE = {"rlnImagePixelSize": 1.8, "rlnImageSize": 56}
RECONSTRUCTED: dict[str, tuple[Sequence[Values], Sequence[Values], Values]] = {
    "beam tilt": ([TILT], [{}], {}),
    "odd Zernike": ([ODD], [{}], {}),
    "anisotropic magnification": ([MAGNIFICATION], [{}], {}),
    "all three": ([{**TILT, **ODD, **MAGNIFICATION}], [{**TILT, **ODD}], {}),
    "beam tilt in the place of coma": ([{**TILT, **ODD}], [{**OTHER_TILT, **ODD}], {}),
    "two groups, one tilted": ([NO_TILT, TILT], [TILT, NO_TILT], {}),
    "two groups, other pixels and boxes": ([{}, OTHER_SCALE], [{}, {"rlnImageSize": 56}], {}),
    "beam tilt, group before row": ([TILT], [{}], {"rlnBeamTiltX": np.full(N_RECONSTRUCTED, -2.0)}),
}


@pytest.mark.usefixtures("undamped")
@pytest.mark.parametrize("feature", RECONSTRUCTED)
def test_maps_are_those_of_relion(tmp_path: Path, feature: str) -> None:
    groups, other, rows = RECONSTRUCTED[feature]
    blobs = Blobs.random(10, spread=4.0, width=1.2)
    given = star(tmp_path / "given.star", N_RECONSTRUCTED, groups, rows)
    for number, values in enumerate(groups):
        box = values.get("rlnImageSize", BOX)
        placeholder = np.random.default_rng(0).normal(size=(N_RECONSTRUCTED // len(groups), box, box))
        write_stack(tmp_path / f"images{number}.mrcs", placeholder, PIXEL_ANGSTROM)
    data = read(given)
    for number, optics in enumerate(data.optics):
        rows_of_group = np.flatnonzero(data.column("optics_group") == number)
        made = images(blobs, data.take(rows_of_group), optics)
        write_stack(tmp_path / f"images{number}.mrcs", made, optics.pixel_size_angstrom)
    left_out = star(tmp_path / "left_out.star", N_RECONSTRUCTED, other)
    agreed, missed = worst_shells(given, blobs), worst_shells(left_out, blobs)
    assert min(agreed) > 0.98
    assert max(missed) < 0.9


def images(blobs: Blobs, data: Particles, optics: Optics) -> np.ndarray:
    """Noise-free images of one optics group in closed form; the blobs are in pixels of ``PIXEL_ANGSTROM``."""
    box, pixel = optics.box, optics.pixel_size_angstrom
    r = box // 2 - 1
    ky, kx = np.mgrid[-r : r + 1, 0 : r + 1].astype(float)
    m = optics.magnification
    fx, fy = (m[0] * kx + m[1] * ky) / (box * pixel), (m[2] * kx + m[3] * ky) / (box * pixel)
    rho, phi = np.hypot(fx, fy), np.arctan2(fy, fx)
    cubic = 2e4 * np.pi * optics.cs_mm * float(electron_wavelength_angstrom(optics.voltage_kv)) ** 2 * rho**2
    tilted = cubic * (fx * optics.beam_tilt_mrad[0] + fy * optics.beam_tilt_mrad[1])
    odd = zernike_sum(optics.odd_zernike, 1, rho, phi) - tilted
    width = blobs.width * PIXEL_ANGSTROM
    fall_off = (2 * np.pi * width**2) ** 1.5 / pixel**2 / PIXEL_ANGSTROM * np.exp(-2 * (np.pi * width * rho) ** 2)
    out = np.zeros((len(data), box, box // 2 + 1), dtype=complex)
    for i, (a, shift) in enumerate(zip(data.rotations, data.shifts_angstrom / pixel, strict=True)):
        x, y = (blobs.centres @ a.T)[:, :2].T * PIXEL_ANGSTROM
        terms = np.exp(-2j * np.pi * (np.multiply.outer(fx, x) + np.multiply.outer(fy, y))) @ blobs.heights
        u, v, angle = (float(data.column(f"defocus_{c}")[i]) for c in ("u_angstrom", "v_angstrom", "angle_deg"))
        centre = np.exp(-2j * np.pi / box * (kx * (box // 2 - shift[0]) + ky * (box // 2 - shift[1])))
        out[i, np.arange(-r, r + 1), : r + 1] = (
            terms * fall_off * ctf(fx, fy, optics, u, v, angle) * np.exp(1j * odd) * centre
        )
    return np.fft.irfft2(out, s=(box, box))


def worst_shells(file: Path, blobs: Blobs) -> tuple[float, float]:
    """Least FSC with the truth to 80 % of Nyquist: of RELION's map, and of the mean of our half maps."""
    folder = file.parent
    command = ["relion_reconstruct", "--i", file.name, "--o", "relion.mrc", "--ctf", "--skip_gridding"]
    relion(*command, cwd=folder)
    read(file).write(folder / "particles.parquet")
    how: dict[str, Any] = {"settings": Reconstruct(), "symmetry": "C1", "backend": get_backend("cpu")}
    reconstruct(folder / "particles.parquet", None, None, **how, out_dir=folder)
    theirs = read_map(folder / "relion.mrc")[0]
    ours = sum(read_map(folder / f"half{h}.mrc")[0] for h in (1, 2))
    ball = np.linalg.norm(np.mgrid[0:BOX, 0:BOX, 0:BOX] - BOX // 2, axis=0) < BOX // 2 - 1
    truth = blobs.map(BOX) * ball
    least = [float(fsc(values * ball, truth)[1 : int(0.4 * BOX)].min()) for values in (theirs, ours)]
    return least[0], least[1]
