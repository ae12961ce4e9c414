"""Maps to simulate from: those of the shared data in a smaller box, and a molecule in D2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.fft

from cryocore.geometry.symmetry import point_group
from cryocore.maps.mrc import read_map, write_map
from cryocore.simulate.molecules import density_map, molecule_atoms
from cryocore.types import Floats32

TETRAMER = "tetramer"
TETRAMER_PLACE_ANGSTROM = 28.0, 22.0, 16.0
"""Of one of the four copies of the molecule ``small``, from the three axes."""
TETRAMER_PIXEL_ANGSTROM, TETRAMER_BFACTOR = 3.0, 100.0


def in_box(source: Path | str, box: int, folder: Path) -> Path:
    """A map of some box in ``folder``, made unless it is there: of a file, or :data:`TETRAMER`."""
    out = folder / f"{Path(source).stem}_box{box}.mrc"
    if out.exists():
        return out
    folder.mkdir(parents=True, exist_ok=True)
    if source == TETRAMER:
        write_map(out, tetramer(box), TETRAMER_PIXEL_ANGSTROM)
    else:
        volume, pixel = read_map(source)
        write_map(out, cut_in_fourier(volume, box), pixel * len(volume) / box)
    return out


def tetramer(box: int) -> Floats32:
    """A density of point group D2."""
    atoms = molecule_atoms("small") + TETRAMER_PLACE_ANGSTROM
    copies = np.concatenate([atoms @ operator.T for operator in point_group("D2")])
    return density_map(copies, box=box, pixel_size_angstrom=TETRAMER_PIXEL_ANGSTROM, bfactor=TETRAMER_BFACTOR)


def cut_in_fourier(volume: Floats32, box: int) -> Floats32:
    """The same density ``(box, box, box)`` of larger voxels: coefficients within the sphere of the new Nyquist."""
    n = len(volume)
    spectrum = scipy.fft.fftshift(scipy.fft.fftn(scipy.fft.ifftshift(volume.astype(np.float64))))
    inner = slice(n // 2 - box // 2, n // 2 - box // 2 + box)
    cut = scipy.fft.ifftshift(spectrum[inner, inner, inner] * (box / n) ** 3)
    k = scipy.fft.fftfreq(box, 1.0 / box)
    cut[k[:, None, None] ** 2 + k[:, None] ** 2 + k**2 >= (box / 2) ** 2] = 0.0
    return np.asarray(scipy.fft.fftshift(scipy.fft.ifftn(cut).real), dtype=np.float32)
