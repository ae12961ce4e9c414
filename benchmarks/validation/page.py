"""``docs/measurements/accuracy.md`` from the numbers of a run."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.validation.texts import HEAD, PLANTED_TEXT, POST_TEXT, REAL_TEXT, RELION_TEXT, SELECTED_TEXT
from cryocore.markdown import table

SCORES = ("dual", "zc", "l2_loss")


def page(record: dict[str, Any]) -> str:
    """The whole page; a section that was skipped says why."""
    sections = record["sections"]
    minutes = sum(values["seconds"] for values in sections.values()) / 60
    parts = [HEAD.format(minutes=minutes, **record)]
    for name, (title, body) in BODIES.items():
        values = sections.get(name, {"skipped": "this section was not asked for"})
        text = f"Skipped: {values['skipped']}.\n" if "skipped" in values else body(values)
        parts.append(f"## {title}\n\n{text}")
    return "\n".join(parts)


def at_shell(item: dict[str, Any], digits: int = 4) -> str:
    """A value with the shell where it was found."""
    return f"{item['value']:+.{digits}f} ({item['shell']})"


def spread(resolutions: list[float], shells: list[float]) -> str:
    """The median of some resolutions, and all shells from least to most."""
    return f"{median(resolutions):.2f} Å (shells {min(shells):.1f} to {max(shells):.1f}, median {median(shells):.1f})"


def relion_body(values: dict[str, Any]) -> str:
    """The comparison of maps, and of resolutions."""
    maps, post = [], []
    for name, case in values["cases"].items():
        for kind, row in case["maps"].items():
            least = [of["least_to_0.9_nyquist"] for of in (row, row["undamped"])]
            between = [f"{item['value']:.4f} ({item['shell']})" for item in least]
            seconds = f"{row['seconds_per_map']:.1f}" if "seconds_per_map" in row else "-"
            means = [f"{mean:.4f}" for mean in row["mask"]["mean"]]
            worst = [at_shell(row[where]["worst_to_0.95_nyquist"]) for where in ("mask", "ball")]
            maps.append([f"{name}, {kind}", *between, *means, *worst, seconds])
        if (p := case.get("postprocess")) is None:
            continue
        resolutions = [spread(p[f"{who}_angstrom"], p[f"{who}_shell"]) for who in ("ours", "theirs")]
        differences = [f"{p['largest_difference'][kind]:.4f}" for kind in ("unmasked", "masked")]
        post.append([name, *resolutions, *differences])
    text = RELION_TEXT.format(half=values["box"] // 2, **values)
    head = ["RELION's map", "between", "undamped", "cryocore", "undamped", "RELION", "mask", "ball", "seconds"]
    return "\n".join(
        [
            text,
            table(head, maps),
            POST_TEXT,
            table(["particles", "cryocore", "RELION", "unmasked FSC", "masked FSC"], post),
        ]
    )


def planted_body(values: dict[str, Any]) -> str:
    """Rounds of every set, and what RELION makes of the last selection."""
    first = next(iter(values["sets"].values()))
    parts = [PLANTED_TEXT.format(percent=f"{100 * first['wrong_pose']:.0f}")]
    relion = []
    for name, found in values["sets"].items():
        title = f"**{name}**: {found['symmetry']}, box {found['box']}, {found['n_particles']} particles"
        rows = [
            [
                str(r["round"]),
                str(r["n_kept"]),
                f"{r['resolution_angstrom']:.2f}",
                f"{r['fsc_truth_area']:.3f}",
                f"{r['correct_rate']:.3f}",
                *(f"{r['aucs'][score]:.3f}" for score in SCORES),
            ]
            for r in (found["rounds"][0], found["rounds"][-1])
        ]
        head = ["round", "kept", "resolution (Å)", "FSC to truth", "correct_rate", *(f"`{score}`" for score in SCORES)]
        parts += [f"{title}, SNR {found['snr']:g}.\n", table(head, rows)]
        result = found["relion"]
        if "skipped" in result:
            relion.append([name, result["skipped"], "-", "-"])
        else:
            least = [of["least_to_0.9_nyquist"] for of in (result, result["unweighted"])]
            relion.append([name, str(result["rows"]), *(f"{item['value']:.4f} ({item['shell']})" for item in least)])
    parts += [SELECTED_TEXT, table(["particles", "rows read", "least FSC (shell)", "without weights"], relion)]
    return "\n".join(parts)


def kept_at(row: dict[str, Any], coarsest_angstrom: float) -> str:
    """Particles of a round and the resolution of their map; half sets that share nothing have none."""
    resolution = row["resolution_angstrom"]
    found = f"{resolution:.1f} Å" if resolution < 0.99 * coarsest_angstrom else "no resolution"
    return f"{row['n_kept']} ({found})"


def real_body(values: dict[str, Any]) -> str:
    """The leave-out test and the workflow's rounds."""
    rows = []
    for name, found in values["sets"].items():
        other = "-" if found["shuffled"] is None else f"{found['shuffled']:.3f}"
        rows.append(
            [
                name,
                str(found["particles"]),
                f"{found['finest_angstrom']:.1f}",
                f"{found['true']:.3f} ± {found['true_error']:.3f}",
                other,
                "{:.3f} and {:.3f}".format(*found["reference"]),
                " → ".join(kept_at(r, found["coarsest_angstrom"]) for r in found["rounds"]),
            ]
        )
    head = ["set", "images", "up to (Å)", "true poses", "shuffled", "elsewhere", "particles in each round"]
    return f"{REAL_TEXT.format(**values)}\n{table(head, rows)}"


def exact_body(values: dict[str, Any]) -> str:
    """One line per number."""
    loo = values["leave_one_out"]
    projection = ", ".join(f"{error:.1e} at {name}" for name, error in values["projection_error"].items())
    lines = [
        f"Projections of Gaussian blobs against their closed form, relative error: {projection}.",
        f"Adjoint: <C P v, y> and <v, Pᵀ C y> differ by {values['adjoint_error']:.1e} of their value.",
        "Leave-one-out: a particle's self-contribution inflates its inner product with the map by"
        f" {loo['inflation']:.0f} (a true value of {loo['true']:.0f});"
        f" after the closed-form correction {100 * loo['remaining_bias']:+.1f} % of that is left on average,"
        f" against maps without these particles (rms {100 * loo['remaining_rms']:.1f} %,"
        f" correlation {loo['correlation']:.4f}).",
    ]
    return "".join(f"- {line}\n" for line in lines)


BODIES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "relion": ("Half maps against RELION's", relion_body),
    "planted": ("Planted errors", planted_body),
    "real_images": ("Real images", real_body),
    "exact": ("Exact relations", exact_body),
}
