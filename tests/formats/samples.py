"""cryoSPARC and THUNDER files of particles, written here from their definitions, not by the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from cryocore.tables.particles import Particles


def rotation_vectors(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors p ``(n, 3)`` with ``A = exp([p]x).T``."""
    turned = np.swapaxes(rotations, 1, 2)
    angle = np.arccos(np.clip((np.trace(turned, axis1=1, axis2=2) - 1) / 2, -1, 1))
    skew = (turned - rotations) / 2
    axis = np.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], axis=1)
    vectors = axis * (angle / np.sin(angle))[:, None]
    for vector, matrix in zip(vectors, rotations, strict=True):
        x, y, z = vector
        np.testing.assert_allclose(expm([[0, -z, y], [z, 0, -x], [-y, x, 0]]).T, matrix, atol=1e-7)
    return vectors


def thunder_quaternions(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternions ``(n, 4)``, scalar first, with ``I + 2wK + 2K² = A.T``, K the cross product with (x, y, z)."""
    turned = np.swapaxes(rotations, 1, 2)
    w = np.sqrt(np.maximum(0, 1 + np.trace(turned, axis1=1, axis2=2))) / 2
    skew = (turned - rotations) / (4 * w)[:, None, None]
    result = np.stack([w, skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], axis=1)
    for (q0, x, y, z), matrix in zip(result, rotations, strict=True):
        k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        np.testing.assert_allclose(np.eye(3) + 2 * q0 * k + 2 * k @ k, matrix.T, atol=1e-7)
    return result


def cs_fields(particles: Particles, **changes: Any) -> dict[str, NDArray[Any]]:
    """Fields of a cryoSPARC file of the particles; ``None`` leaves a field out. ``__`` stands for the slash."""
    n, optics = len(particles), [particles.optics[g] for g in particles.column("optics_group")]
    pixel = np.array([o.pixel_size_angstrom for o in optics])
    fields: dict[str, Any] = {
        "uid": np.random.default_rng(3).integers(2**62, 2**63, n).astype(np.uint64) * 2 + 1,
        "blob/path": np.array([f">{name}".encode() for name in particles.column("stack")]),
        "blob/idx": particles.column("slice").astype(np.uint32),
        "blob/shape": np.array([[o.box, o.box] for o in optics], dtype=np.uint32),
        "blob/psize_A": pixel.astype(np.float32),
        "blob/sign": np.ones(n, dtype=np.float32),
        "blob/import_sig": np.full(n, 77, dtype=np.uint64),
        "ctf/type": np.full(n, b"ctffind4"),
        "ctf/exp_group_id": particles.column("optics_group").astype(np.uint32) + 23,
        "ctf/accel_kv": np.float32([o.voltage_kv for o in optics]),
        "ctf/cs_mm": np.float32([o.cs_mm for o in optics]),
        "ctf/amp_contrast": np.float32([o.amplitude_contrast for o in optics]),
        "ctf/df1_A": particles.column("defocus_u_angstrom"),
        "ctf/df2_A": particles.column("defocus_v_angstrom"),
        "ctf/df_angle_rad": np.deg2rad(particles.column("defocus_angle_deg")).astype(np.float32),
        "ctf/phase_shift_rad": np.deg2rad(particles.column("phase_shift_deg")).astype(np.float32),
        "ctf/scale": particles.column("ctf_scale"),
        "ctf/bfactor": particles.column("ctf_bfactor"),
        "alignments3D/split": (particles.column("half") - 1).astype(np.uint32),
        "alignments3D/shift": (particles.shifts_angstrom / pixel[:, None]).astype(np.float32),
        "alignments3D/pose": rotation_vectors(particles.rotations).astype(np.float32),
        "alignments3D/psize_A": pixel.astype(np.float32),
        "alignments3D/error": np.linspace(1000, 2000, n, dtype=np.float32),
        "alignments3D/alpha": np.linspace(0.5, 1.5, n, dtype=np.float32),
        "alignments3D/class": np.zeros(n, dtype=np.uint32),
        "location/micrograph_path": np.array([f"J1/{name}".encode() for name in particles.column("micrograph")]),
        "location/micrograph_shape": np.full((n, 2), (3838, 3710), dtype=np.uint32),
        "location/center_x_frac": np.linspace(0.1, 0.9, n, dtype=np.float32),
        "location/center_y_frac": np.linspace(0.8, 0.2, n, dtype=np.float32),
    }
    for name, value in changes.items():
        fields[name.replace("__", "/")] = value
    return {name: np.asarray(value) for name, value in fields.items() if value is not None}


def write_fields(path: Path, fields: dict[str, NDArray[Any]]) -> Path:
    """Write fields as a cryoSPARC file."""
    n = len(fields["uid"])
    records = np.zeros(n, dtype=[(name, v.dtype, v.shape[1:]) for name, v in fields.items()])
    for name, value in fields.items():
        records[name] = value
    with path.open("wb") as file:
        np.save(file, records)
    return path


def thu_rows(particles: Particles) -> list[str]:
    """Lines of a THUNDER file of the particles, as the program lays them out; the defocus factor is 0.5."""
    rows = []
    quaternions = thunder_quaternions(particles.rotations)
    for i in range(len(particles)):
        o = particles.optics[particles.column("optics_group")[i]]
        u, v, angle, phase = (
            float(particles.column(name)[i])
            for name in ("defocus_u_angstrom", "defocus_v_angstrom", "defocus_angle_deg", "phase_shift_deg")
        )
        optical = [1e3 * o.voltage_kv, 2 * u, 2 * v, np.deg2rad(angle), 1e7 * o.cs_mm, o.amplitude_contrast]
        names = [f"{particles.column('slice')[i] + 1:06d}@{particles.column('stack')[i]}"]
        names.append(particles.column("micrograph")[i])
        shift = -particles.shifts_angstrom[i] / o.pixel_size_angstrom
        numbers = [*quaternions[i], 0.1, 0.2, 0.3, *shift, 0.01, 0.02, 0.5, 0.03, 0.7]
        head = " ".join(f"{x:18.9f}" for x in [*optical, np.deg2rad(phase)])
        tail = " ".join(f"{x:18.9f}" for x in numbers)
        rows.append(f"{head} {' '.join(names)} {100.0 + i:18.9f} {200.0:18.9f} {7:6d} {i % 2:6d} {tail}")
    return rows
