"""A selection session of JANAS: ``python -m experiments.selectors.janas STAR MAP1 MAP2 MASK PIXEL SYMMETRY OUT BIN``.

The script that its session manager writes is run as it is, but for the point group: JANAS hands none to
``relion_reconstruct``, whose trial reconstructions are symmetric here as all other maps are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from cryocore.formats.kinds import read_tables
from cryocore.formats.star_out import write_star

SELECTIONS, RECONSTRUCTIONS = 1, 5
"""Of its eight selections, and of its ten and five more trial reconstructions each, which take an hour a data set."""
SETTINGS = ("--autoSigma", "--randomSeed", "--mpi", "1", "--extraSamples_num", "0")
CONSTANTS = {"rlnCtfBfactor": 0.0, "rlnCtfScalefactor": 1.0, "rlnPhaseShift": 0.0, "rlnClassNumber": 1}
"""Columns that it asks for."""
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
RECONSTRUCT = "relion_reconstruct --i"


def main() -> None:
    """Run a session, and leave its last selection in OUT/selected.star."""
    star, map1, map2, mask, pixel, symmetry, out, programs = sys.argv[1:]
    environment = {**os.environ, **AS_ROOT, "PATH": os.pathsep.join([programs, os.environ["PATH"]])}
    particles, session, selected = (Path(out) / name for name in ("particles.star", "session", "selected.star"))
    tables = read_tables(Path(star))
    write_star(tables.particles.assign(**CONSTANTS), tables.optics, particles)
    files = ("--name", session, "--particles", particles, "--map", map1, "--map2", map2, "--mask", mask)
    how = ("--angpix", pixel, "--maxSelections", SELECTIONS, "--numRecs", RECONSTRUCTIONS, *SETTINGS)
    manager = [f"{programs}/janas_session_manager", "new_select_session"]
    subprocess.run([*manager, *map(str, (*files, *how))], check=True, env=environment)
    script = Path(f"{session}_run.sh")
    text = script.read_text()
    if RECONSTRUCT not in text:
        raise ValueError(f"{script} calls no {RECONSTRUCT}")
    script.write_text(text.replace(RECONSTRUCT, f"relion_reconstruct --sym {symmetry} --i"))
    subprocess.run(["bash", str(script)], check=True, env=environment)
    overview = tomllib.loads((session / "overview.txt").read_text())
    shutil.copy(overview["_janas_target_selection"][0]["reference_starFile"], selected)


if __name__ == "__main__":
    main()
