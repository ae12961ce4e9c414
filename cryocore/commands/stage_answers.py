"""What stages answer as verbs: a text, and the same for programs, from the files that they wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Told = tuple[str, dict[str, Any]]


def simulated(out_dir: Path, settings: dict[str, Any]) -> Told:
    """How many particles there are."""
    names, n = (
        ("particles.star", "particles.mrcs", "truth.parquet", "true_map.mrc"),
        settings["simulate"]["n_particles"],
    )
    return f"{n:,} particles in {out_dir / names[0]}", {"n_particles": n, "files": _in(out_dir, names)}


def planted(out_dir: Path) -> Told:
    """How many particles are wrong now."""
    right = _column(out_dir / "truth.parquet", "is_correct")
    value = {"n_particles": len(right), "n_wrong": int((~right).sum())}
    names = [name for name in ("particles.star", "truth.parquet", "junk.mrcs") if (out_dir / name).exists()]
    text = f"{len(right):,} particles, {value['n_wrong']:,} of them wrong, in {out_dir / names[0]}"
    return text, {**value, "files": _in(out_dir, names)}


def ingested(particles: Path) -> Told:
    """How many particles there are, and in which half sets."""
    from cryocore.data import Particles

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
    from cryocore.data import FscCurves
    from cryocore.maps.fsc import resolution_at

    curves = FscCurves.read(out_dir / "fsc.parquet")
    resolution = resolution_at(curves.corrected, curves.resolution_angstrom, 0.143)
    names = ("half1.mrc", "half2.mrc", "map.mrc", "mask.mrc", "fsc.parquet", "sampling.npz")
    text = f"{resolution:.2f} Å at FSC 0.143; {', '.join(names)} in {out_dir}"
    return text, {"resolution_angstrom": resolution, "files": _in(out_dir, names)}


def scored(out: Path, round_number: int) -> Told:
    """How many particles were scored."""
    n = _rows(out)
    return f"{n:,} particles in {out}", {"scores": str(out), "round": round_number, "n_particles": n}


def gathered(out: Path) -> Told:
    """How many particles there are."""
    n = _rows(out)
    return f"{n:,} particles in {out}", {"scores": str(out), "n_particles": n}


def classified(out_scores: Path, out_dir: Path) -> Told:
    """How many particles are probably right."""
    likely = _column(out_scores, "probability")
    value = {"scores": str(out_scores), "classifier": str(out_dir), "n_particles": len(likely)}
    n = int((likely > 0.5).sum())
    return f"{n:,} of {len(likely):,} particles probably right, in {out_scores}", {**value, "n_right": n}


def selected(out_table: Path, out_file: Path, round_number: int) -> Told:
    """How many particles are kept."""
    chosen = _column(out_table, "selected")
    n, kept, files = len(chosen), int(chosen.sum()), [str(out_table), str(out_file)]
    value = {"round": round_number, "n_particles": n, "n_kept": kept, "files": files}
    return f"{kept:,} of {n:,} particles kept, in {out_file}", value


def validated(out_metrics: Path) -> Told:
    """The metrics."""
    value = json.loads(out_metrics.read_text())
    right = value["correct_rate"]
    known = "" if right is None else f", {100 * right:.1f} % of them right"
    text = f"{value['n_kept']:,} particles kept{known}, {value['resolution_angstrom']:.2f} Å at FSC 0.143"
    return f"{text}; more in {out_metrics}", value


def reported(out_table: Path, out_report: Path, out_star: Path) -> Told:
    """Where the report is."""
    return f"{out_report}, {out_star}", {"files": [str(file) for file in (out_table, out_report, out_star)]}


def wrote(out: Path) -> Told:
    """The one file."""
    return str(out), {"files": [str(out)]}


def _in(folder: Path, names: tuple[str, ...] | list[str]) -> list[str]:
    return [str(folder / name) for name in names]


def _column(table: Path, name: str) -> Any:
    from cryocore.files import as_numpy, read_table

    return as_numpy(read_table(table, [name]).column(0))


def _rows(table: Path) -> int:
    from cryocore.files import open_table

    with open_table(table) as file:
        return int(file.metadata.num_rows)
