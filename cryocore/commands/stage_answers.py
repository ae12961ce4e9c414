"""What stages answer as verbs: a text, and the same for programs, from the files that they wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Told = tuple[str, dict[str, Any]]


def simulated(out_dir: Path, settings: dict[str, Any]) -> Told:
    """How many particles there are."""
    n = settings["simulate"]["n_particles"]
    names = ("particles.star", "particles.mrcs", "truth.parquet", "true_map.mrc")
    return f"{n:,} particles in {out_dir / names[0]}", {"n_particles": n, "files": _in(out_dir, names)}


def ingested(particles: Path) -> Told:
    """How many particles there are, and in which half sets."""
    from cryocore.tables.particles import Particles

    data = Particles.read(particles)
    half = data.column("half")
    value = {
        "particles": str(particles),
        "n_particles": len(data),
        "n_half1": int((half == 1).sum()),
        "n_half2": int((half == 2).sum()),
        "n_optics_groups": len(data.optics),
    }
    return f"{len(data):,} particles, {value['n_half1']:,} of them in half set 1, in {particles}", value


def reconstructed(out_dir: Path) -> Told:
    """The resolution."""
    from cryocore.maps.curves import FscCurves
    from cryocore.maps.fsc import resolution_at

    curves = FscCurves.read(out_dir / "fsc.parquet")
    resolution = resolution_at(curves.corrected, curves.resolution_angstrom, 0.143)
    names = ("half1.mrc", "half2.mrc", "map.mrc", "mask.mrc", "fsc.parquet", "sampling.npz")
    text = f"{resolution:.2f} Å at FSC 0.143; {', '.join(names)} in {out_dir}"
    return text, {"resolution_angstrom": resolution, "files": _in(out_dir, names)}


def examined(out: Path) -> Told:
    """What was found, in sentences."""
    value = json.loads(out.read_text())
    return " ".join(answer["sentence"] for answer in value.values()), value


def scored(out: Path, round_number: int) -> Told:
    """How many particles were scored."""
    from cryocore.tables.io import open_table

    with open_table(out) as file:
        n = file.metadata.num_rows
    return f"{n:,} particles in {out}", {"scores": str(out), "round": round_number, "n_particles": n}


def selected(out_table: Path, out_file: Path, round_number: int) -> Told:
    """How many particles are kept."""
    from cryocore.tables.io import as_numpy, read_table

    chosen = as_numpy(read_table(out_table, ["selected"]).column(0))
    n, kept, files = len(chosen), int(chosen.sum()), [str(out_table), str(out_file)]
    value = {"round": round_number, "n_particles": n, "n_kept": kept, "files": files}
    return f"{kept:,} of {n:,} particles kept, in {out_file}", value


def validated(out_metrics: Path) -> Told:
    """The metrics."""
    value = json.loads(out_metrics.read_text())
    correct = value["correct_rate"]
    known = "" if correct is None else f", {100 * correct:.1f} % of them correct"
    text = f"{value['n_kept']:,} particles kept{known}, {value['resolution_angstrom']:.2f} Å at FSC 0.143"
    return f"{text}; more in {out_metrics}", value


def _in(folder: Path, names: tuple[str, ...]) -> list[str]:
    return [str(folder / name) for name in names]
