"""``docs/measurements/region.md``, from what was measured of a body that is displaced."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.validation.common import ROOT
from cryocore.markdown import table
from cryocore.tables.io import atomic_path
from experiments.region import BOX, MOVED_ANGSTROM, PIXEL_ANGSTROM, SCORES, SHARE, SNRS, STORE, N, names

Values = dict[str, Any]

PAGE = ROOT / "docs" / "measurements" / "region.md"
HEAD = f"""\
# A region

*For those who ask whether to judge particles by a part of the molecule.*

How it is done: [judge by a part of the molecule](../how-to/region.md). Written by `python -m experiments table` from
`benchmarks/results/region`, which `python -m experiments region` measures.

A body of a sixth of the mass is displaced by {MOVED_ANGSTROM:g} Å in {100 * SHARE:.0f} % of {N:,} particles (`small`,
C1, box {BOX}, {PIXEL_ANGSTROM:g} Å). The table has the AUC of particles whose body is at its place against the others,
mean and range over seeds: by the whole molecule, by its half maps under the mask of the region, and by the region with
what is outside subtracted from the images. JANAS 2.2.3 scores with both masks, by the own half map as its session calls
it ([more](selectors.md#programs)); widths in pixels.

"""
BY = {"whole": "the whole molecule", "mask": "the region's mask alone", "region": "the region"}


def read(store: Path = STORE) -> list[Values]:
    """What was measured."""
    files = (store / f"{name}.json" for name, _, _ in names())
    return [json.loads(file.read_text()) for file in files if file.exists()]


def write_page(*, page: Path = PAGE, store: Path = STORE) -> Path | None:
    """Write the page; None where nothing is measured."""
    found = read(store)
    if not found:
        return None
    with atomic_path(page) as temporary:
        by_snr = {snr: [v for v in found if v["snr"] == snr] for snr in SNRS}
        parts = [section(snr, values) for snr, values in by_snr.items() if values]
        temporary.write_text("\n\n".join([HEAD.strip(), *parts]) + "\n")
    return page


def section(snr: float, found: Sequence[Values]) -> str:
    """The tables of one signal-to-noise ratio."""
    ours = [[text, *(_cell([v[by][s] for v in found]) for s in SCORES)] for by, text in BY.items()]
    widths = list(found[0]["janas whole"])
    theirs = [[BY[by], *(_cell([v[f"janas {by}"][w] for v in found]) for w in widths)] for by in ("whole", "mask")]
    best = {by: mean(max(v[by][s] for s in SCORES) for v in found) for by in BY}
    rival = mean(max(max(v[f"janas {by}"].values()) for by in ("whole", "mask")) for v in found)
    said = (
        f"The best score of each set, in the mean: the region {best['region']:.3f}, the whole molecule\n"
        f"{best['whole']:.3f}, JANAS with the better of both masks {rival:.3f}."
    )
    head = f"## Signal-to-noise ratio {snr:g}, {len(found)} sets"
    tables = table(["cryocore, by", *(f"`{s}`" for s in SCORES)], ours), table(["JANAS, by", *widths], theirs)
    return "\n\n".join([head, said, *(made.strip() for made in tables)])


def _cell(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
