"""cisTEM's weights by score as a program of its own: ``python -m experiments.selectors.cistem HOME OUT``.

A particle whose score lies s below the mean is weighted by exp(-c s g² / 4) at frequency g, in numerator and
denominator of the map, with c 2 Å² by default and scores in percent (Grant, Rohou & Grigorieff 2018, eLife 7, e35383;
Grigorieff 2007, J. Struct. Biol. 157, 117). The score is that of :func:`experiments.quality.cistem_scores`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from cryocore.config.file import read_config
from cryocore.geometry.symmetry import point_group
from cryocore.imaging.accumulate import accumulate, symmetrise
from cryocore.imaging.grid import FourierGrid, FourierSums
from cryocore.imaging.solve import Solver
from cryocore.log.rounds import find_rounds
from cryocore.maps.mrc import write_map
from cryocore.reconstruct.stage import sums_grid
from cryocore.tables.io import copy_file, write_table
from cryocore.tables.particles import Particles
from cryocore.types import Floats
from experiments.comparisons import Run
from experiments.quality import CISTEM_ANGSTROM2, cistem_scores
from experiments.selectors.sets import as_run


def main() -> None:
    """Write the score of each particle, and the half maps with its weights."""
    home, out = map(Path, sys.argv[1:])
    with as_run(home, read_config(home / "config.yaml"), 1) as (run, _):
        data = Particles.read(run.particles)
        score = cistem_scores(find_rounds(run.results)[0])
        write_table(out / "scores.parquet", pa.table({"particle_id": data.ids, "score": score}))
        grid = sums_grid(data, run.config.reconstruct)
        solver = Solver(weighted(run, data, score, grid), point_group(run.config.symmetry))
        for h in (0, 1):
            write_map(out / f"half{h + 1}.mrc", solver.half(h), grid.pixel_size_angstrom)
        copy_file(run.results / "round_0" / "mask.mrc", out / "mask.mrc")


def weighted(run: Run, data: Particles, score: Floats, grid: FourierGrid) -> FourierSums:
    """Sums of w C y and w C²: those of images with the envelope w, and with its root."""
    bfactor = CISTEM_ANGSTROM2 * (score.mean() - score)
    group, ones = point_group(run.config.symmetry), np.ones(len(data), dtype=np.float32)
    sums = []
    for share in (1.0, 0.5):
        own = (data.column("ctf_bfactor") + share * bfactor).astype(np.float32)
        with_envelope = data.with_columns({"ctf_bfactor": own})
        sums.append(symmetrise(accumulate(with_envelope, ones, grid, run.backend), group))
    return replace(sums[0], denominator=sums[1].denominator)


if __name__ == "__main__":
    main()
