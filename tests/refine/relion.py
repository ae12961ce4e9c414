"""A program that takes RELION's options and turns every particle by a degree: what a refinement leaves behind.

It ends after the iteration that FAIL_AT names, or while it writes the one that STOP_IN names, and writes what it was
given to ``calls.txt``.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np

from cryocore.formats.kinds import read_tables
from cryocore.formats.star_out import write_star
from cryocore.maps.mrc import read_map, write_map

LAST = 3


def main(arguments: list[str]) -> None:
    """Three iterations."""
    given = {name: value for name, value in zip(arguments, [*arguments[1:], ""], strict=True) if name.startswith("--")}
    prefix = Path(given["--o"])
    with (prefix.parent / "calls.txt").open("a") as calls:
        calls.write(" ".join(arguments) + "\n")
    begun = given.get("--continue")
    first = int(Path(begun).name[6:9]) + 1 if begun else 1
    kept = prefix.parent / "given.star"
    if not begun:
        shutil.copy(given["--i"], kept)
        shutil.copy(given["--ref"], prefix.parent / "ref.mrc")
    for iteration in range(first, LAST + 1):
        print(f" Auto-refine: Iteration= {iteration}")
        print(f" Auto-refine: Resolution= {20 - iteration}")
        Path(f"{prefix}_it{iteration:03d}_optimiser.star").touch()
        if os.environ.get("STOP_IN") == str(iteration):
            sys.exit("ended while it wrote")
        for name in ("data", "sampling", "half1_model", "half2_model"):
            Path(f"{prefix}_it{iteration:03d}_{name}.star").touch()
        if os.environ.get("FAIL_AT") == str(iteration):
            sys.exit("ERROR:\nno room on the device\n\n[host] 1 more process has sent a help message")
    tables = read_tables(kept)
    particles = tables.particles.iloc[::-1]  # in another order
    angles = (particles["rlnAngleRot"].astype(float) + 1.0).to_numpy()
    write_star(particles.assign(rlnAngleRot=angles), tables.optics, f"{prefix}_data.star")
    volume, pixel = read_map(prefix.parent / "ref.mrc")
    rng = np.random.default_rng(0)
    for h in (1, 2):
        noise = rng.normal(0, 4.0 * volume.std(), volume.shape)
        write_map(Path(f"{prefix}_half{h}_class001_unfil.mrc"), volume + noise, pixel)


if __name__ == "__main__":
    main(sys.argv[1:])
