"""Particles as a torch data set, so that training code sees a selection as ``torch.utils.data.Subset``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from cryocore.formats.stacks import StackReader
from cryocore.tables.particles import Particles
from cryocore.types import Ints

CTF_COLUMNS = (
    "defocus_u_angstrom",
    "defocus_v_angstrom",
    "defocus_angle_deg",
    "phase_shift_deg",
    "ctf_bfactor",
    "ctf_scale",
    "voltage_kv",
    "cs_mm",
    "amplitude_contrast",
    "pixel_size_angstrom",
)
"""What the columns of ``ctf`` are, in this order."""


class ParticleDataset(Dataset[dict[str, torch.Tensor]]):
    """Particles by row, read when asked for; works with ``Subset``, ``DataLoader`` and its workers.

    An item is a dict of tensors:

    ``image``        float32 ``(d, d)``; protein is bright, whatever the file's contrast
    ``rotation``     float32 ``(3, 3)``, object to image
    ``shift``        float32 ``(2,)``, the translation (x, y) in Å that centres the image
    ``ctf``          float32 ``(10,)``, see ``CTF_COLUMNS``
    ``particle_id``  uint64, ``row`` int64: scalars

    Parameters
    ----------
    particles : the data set

    Notes
    -----
    A ``DataLoader`` with ``batch_size=n`` asks for n items at once, and they are read in few, large reads; a batch
    then has a leading dimension n in every tensor. Its images must share their box.

    Every process opens its own files, so that workers may be forked or spawned. All values are tensors: ``pin_memory``
    pins them, and ``tensor.to(device, non_blocking=True)`` copies them while the device computes.

    Half sets must not see each other's images: train on the rows of one, ``particles.column("half") == 1``. What an
    optics group has beside ``CTF_COLUMNS``, as beam tilt, is in ``particles.optics``.

    Raises
    ------
    InputError  if a stack has gone or has changed, when it is read.
    IndexError  if there is no such row.
    """

    def __init__(self, particles: Particles) -> None:
        self.particles = particles
        self._rotations = particles.rotations.astype(np.float32)
        self._shifts = particles.shifts_angstrom.astype(np.float32)
        self._ctf = _ctf_values(particles)
        self._ids = particles.ids
        self._box = np.array([o.box for o in particles.optics])[particles.column("optics_group")]
        self._reader: StackReader | None = None
        self._process = 0

    def __len__(self) -> int:
        return len(self.particles)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, torch.Tensor]]:
        """The items of several rows, in their order."""
        index = self._check(rows)
        items: list[dict[str, torch.Tensor]] = [{} for _ in index]
        for box in np.unique(self._box[index]):
            places = np.flatnonzero(self._box[index] == box)
            batch = self.batch(index[places])
            for i, place in enumerate(places):
                items[place] = {key: value[i] for key, value in batch.items()}
        return items

    def batch(self, rows: Sequence[int] | Ints) -> dict[str, torch.Tensor]:
        """The items of several rows of one box, each tensor stacked along a leading dimension."""
        index = self._check(rows)
        return {
            "image": torch.from_numpy(self._own_reader().read(index)),
            "rotation": torch.from_numpy(self._rotations[index]),
            "shift": torch.from_numpy(self._shifts[index]),
            "ctf": torch.from_numpy(self._ctf[index]),
            "particle_id": torch.from_numpy(self._ids[index]),
            "row": torch.from_numpy(index),
        }

    def __getstate__(self) -> dict[str, Any]:
        """What a spawned worker gets: all but open files."""
        return {**self.__dict__, "_reader": None}

    def _own_reader(self) -> StackReader:
        """The reader of this process; that of a parent, whose lock may be held, is left alone."""
        if self._reader is None or self._process != os.getpid():
            self._reader, self._process = StackReader(self.particles), os.getpid()
        return self._reader

    def _check(self, rows: Sequence[int] | Ints) -> Ints:
        index = np.asarray(rows, dtype=np.int64)
        index = np.where(index < 0, index + len(self), index)
        if index.size and (index.min() < 0 or index.max() >= len(self)):
            raise IndexError(f"rows must be below {len(self)}; got {rows}")
        return index


def _ctf_values(particles: Particles) -> NDArray[np.float32]:
    """The columns of ``CTF_COLUMNS``, ``(n, 10)``."""
    group = particles.column("optics_group")
    return np.stack(
        [
            particles.column(name)
            if name in particles.table.schema.names
            else np.array([getattr(o, name) for o in particles.optics])[group]
            for name in CTF_COLUMNS
        ],
        axis=1,
    ).astype(np.float32)
