"""Lists and maps of each of two states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.special import expit

from cryocore.backend import Backend
from cryocore.explore.open_maps import open_maps
from cryocore.explore.states.measure import Second
from cryocore.formats.source import Source
from cryocore.log.names import MIXTURE
from cryocore.maps.mrc import write_map
from cryocore.reconstruct.solved import half_maps
from cryocore.statistics import posterior

STATES = "first", "second"


def split(run_dir: Path, number: str, second: Second, out_dir: Path, backend: Backend) -> list[Path]:
    """Write for each state the particles that the round selects and that are rather in it, and half maps.

    In the maps each particle counts by its probability of being correct and in that state. They show in part what they
    were sorted by: noise, too, is sorted.
    """
    opened = open_maps(run_dir, number)
    source = Source.of(opened.data)
    selected = opened.log.values("selected").astype(bool)
    known = np.isfinite(second.log_odds)
    of_second = np.where(known, expit(second.log_odds), 0.0)
    correct = posterior(opened.log.values(MIXTURE).astype(np.float64)) * known
    files = []
    for name, share in zip(STATES, (1.0 - of_second, of_second), strict=True):
        listed = out_dir / f"{name}{source.path.suffix}"
        source.write(selected & known & (share > 0.5), {}, listed)
        weights = (correct * share).astype(np.float32)
        given = opened.grid, opened.group, backend, opened.source
        halves = half_maps(opened.data, weights, *given, f"{name} state")
        files += [listed, *(out_dir / f"{name}_half{h}.mrc" for h in (1, 2))]
        for file, volume in zip(files[-2:], halves, strict=True):
            write_map(file, volume * opened.mask, opened.pixel_size_angstrom)
    return files
