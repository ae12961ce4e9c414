"""``docs/measurements/states.md``, from what was measured of planted second states."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.validation.common import ROOT
from cryocore.explore.states.measure import THRESHOLD
from cryocore.markdown import table
from cryocore.tables.io import atomic_path
from experiments.states import KINDS, SHARE, SHARES, SNR, SNRS, STORE, cases

Values = dict[str, Any]

HALF = 0.5
GRID = """
Standard errors, and in brackets the AUC of the log odds; a dash where no state is told. One set each. Of two halves
either may be called the second.
"""
PAGE = ROOT / "docs" / "measurements" / "states.md"
HEAD = f"""# States

*For those who want to know which second states are seen, and what is not taken for one.*

How they are looked for: [states](../explanation/states.md). Written by `python -m experiments table` from
`benchmarks/results/states`, which `python -m experiments states` measures.

Sets of 2,000 particles (`small`, C1, box 64, 2 Å, uniform views, SNR {SNR:g}, unless said), round 0. In the second
state a fifth of the mass is missing, or turned by 25°. A state is told from {THRESHOLD:g} standard errors on.
"""


def measured(store: Path = STORE) -> list[Values]:
    """What is measured, in the order of the cases."""
    files = (store / f"{case.name}.json" for case in cases())
    return [json.loads(file.read_text()) for file in files if file.exists()]


def write_page(store: Path = STORE, page: Path = PAGE) -> Path | None:
    """Write the page; nothing where nothing is measured."""
    found = measured(store)
    if not found:
        return None
    with atomic_path(page) as temporary:
        temporary.write_text("\n\n".join([HEAD.strip(), *sections(found)]) + "\n")
    return page


def sections(found: Sequence[Values]) -> Iterator[str]:
    """The tables that there are numbers for."""
    parts = {name: [v for v in found if v["group"] == name] for name in ("seeds", "grid", "trouble", "symmetric")}
    if parts["seeds"]:
        yield f"## {100 * SHARE:.0f} % in the second state, or none"
        yield seeds_table(parts["seeds"])
    if parts["grid"]:
        yield "## By signal and share"
        yield GRID.strip()
        for kind in KINDS:
            yield grid_table(kind, [v for v in parts["grid"] if v["second_state"] == kind])
    if parts["trouble"]:
        yield "## What is no state"
        yield single_table(parts["trouble"])
    if parts["symmetric"]:
        yield "## Symmetric molecules"
        yield f"{100 * SHARE:.0f} % of the particles have the second state; broken: one asymmetric unit lacks its part."
        yield single_table(parts["symmetric"])


def is_found(values: Values) -> bool:
    """Whether a second state is told."""
    return values["found"]["second"] is not None


def seeds_table(found: Sequence[Values]) -> str:
    """How often a state is told, over the seeds."""
    rows = []
    for kind in ("none", *KINDS):
        of_kind = [v for v in found if v["label"] == kind]
        if not of_kind:
            continue
        errors = [v["found"]["standard_errors"] for v in of_kind]
        told = [v for v in of_kind if is_found(v)]
        named = sum(v["found"]["second"]["kind"] == kind for v in told)
        planted = [v for v in told if v["auc"] is not None]
        shares = sorted(v["found"]["second"]["share"] for v in told)
        rows.append(
            [
                kind,
                f"{len(told)} of {len(of_kind)}",
                f"{min(errors):.1f} to {max(errors):.1f}, mean {mean(errors):.1f}",
                f"{named} of {len(told)}" if planted else "-",
                f"{mean(v['auc'] for v in planted):.3f}" if planted else "-",
                f"{100 * shares[0]:.0f} to {100 * shares[-1]:.0f} %" if planted else "-",
            ]
        )
    return table(["second state", "told", "standard errors", "its kind named", "AUC of log odds", "share told"], rows)


def grid_table(kind: str, found: Sequence[Values]) -> str:
    """Standard errors by SNR and share."""
    by = {(v["snr"], v["second_share"]): v for v in found}
    rows = [[f"{snr:g}", *(_cell(by.get((snr, share))) for share in SHARES)] for snr in SNRS]
    return table([f"{kind}, SNR", *(f"{100 * share:.0f} %" for share in SHARES)], rows)


def single_table(found: Sequence[Values]) -> str:
    """One line for each set."""
    rows = [[v["label"], f"{v['found']['standard_errors']:.1f}", "yes" if is_found(v) else "no"] for v in found]
    return table(["set", "standard errors", "told"], rows)


def _cell(values: Values | None) -> str:
    if values is None:
        return ""
    errors = f"{values['found']['standard_errors']:.1f}"
    if not is_found(values) or values["auc"] is None:
        return f"{errors} (-)"
    halves = values["second_share"] == HALF
    return f"{errors} ({max(values['auc'], 1.0 - values['auc']) if halves else values['auc']:.2f})"
