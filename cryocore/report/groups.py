"""The section on micrographs, optics groups and defocus: which hold more incorrect particles than the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryocore.errors import InputError
from cryocore.explore.replay.figures import groups_figure
from cryocore.explore.replay.groups import LEVEL, Ranking, incorrectness, rank_all
from cryocore.log.rounds import find_rounds, wanted_round
from cryocore.report.section import Drawing, Section, Table

NAMED = "groups", "Groups", "Which micrographs, optics groups and defocus are bad?"
SURE = 4.0
"""Log-likelihood that wrong defoci have to add before the report warns of them: by chance in one of 400 data sets."""
LISTED = 10
"""Groups of one kind in a table at most."""
FEWEST_LISTED = 3
NAMES = {
    "micrograph": ("Micrograph", "micrographs"),
    "optics_group": ("Optics group", "optics groups"),
    "defocus": ("Defocus", "ranges of defocus"),
}
SOURCES = {"posterior": "by the probability of being incorrect", "flags": "by the truth"}
READING = (
    "The share of incorrect particles of every group with its 95 % interval, drawn to the mean where its particles are "
    "few; the dashed line is the share of all. Orange groups are worse than chance explains; of twenty such groups one "
    "may be so by chance. A bad micrograph is worth a look: ice, drift, a wrong defocus."
)


def groups_section(run_dir: Path, number: int) -> Section:
    """Rankings of one round's groups, from its log alone; kinds with a single group are left out."""
    try:
        log = wanted_round(find_rounds(run_dir), str(number))
        ranked = {kind: ranking for kind, ranking in rank_all(log).items() if len(ranking) > 1}
        source = incorrectness(log).source
    except InputError as error:
        return Section(*NAMED, f"Not answered: {error.problem}.")
    defocus = log.metadata.get("wrong_defocus")
    if not ranked:
        return Section(*NAMED, "The log knows of no groups: one micrograph, optics group and defocus, or none.")
    parts = [f"{int(r.worse.sum()) or 'none'} of {len(r):,} {NAMES[kind][1]}" for kind, r in ranked.items()]
    worse = [f"{int(r.worse.sum()):,} of {len(r):,} {NAMES[k][1]}" for k, r in ranked.items() if r.worse.any()]
    return Section(
        *NAMED,
        f"Worse than chance explains: {_listed(parts)} (round {number}, {SOURCES[source]}).",
        drawings=(Drawing("groups", groups_figure(ranked), "Share of incorrect particles by group, with intervals"),),
        tables=(*defocus_tables(defocus), *(_table(kind, ranking) for kind, ranking in ranked.items())),
        reading=READING,
        warnings=(
            *defocus_warnings(defocus),
            *([f"{_listed(worse)} hold more incorrect particles than chance explains."] if worse else []),
        ),
    )


def defocus_warnings(defocus: dict[str, Any] | None) -> list[str]:
    """The sentence on micrographs whose defocus is wrong, where the log is sure that there are some."""
    if defocus is None or defocus["gain"] < SURE or not defocus["micrographs"]:
        return []
    n = len(defocus["micrographs"])
    return [
        f"{n:,} of {defocus['n_micrographs']:,} micrographs {'seems' if n == 1 else 'seem'} to have a wrong defocus: "
        "estimate the CTF again."
    ]


def defocus_tables(defocus: dict[str, Any] | None) -> list[Table]:
    """The micrographs whose defocus is most surely wrong, if there are any."""
    if defocus is None or not defocus["micrographs"]:
        return []
    head = ("Micrograph", "Wrong with probability", "Off by about")
    rows = tuple(
        (m["name"], f"{100 * m['probability']:.1f} %", f"{m['offset_angstrom']:,.0f} Å")
        for m in defocus["micrographs"][:LISTED]
    )
    more = f", {len(rows)} of {len(defocus['micrographs']):,}" if len(defocus["micrographs"]) > LISTED else ""
    return [Table(f"Micrographs of a wrong defocus{more}", head, rows)]


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _table(kind: str, ranking: Ranking) -> Table:
    """The worst groups: all that stand out, and at least three."""
    rows = min(max(int(ranking.worse.sum()), FEWEST_LISTED), LISTED, len(ranking))
    return Table(
        f"{NAMES[kind][1].capitalize()}, the worst of {len(ranking):,}",
        (NAMES[kind][0], "Particles", "Incorrect", "95 % interval", "q"),
        tuple(
            (
                ranking.name[i],
                f"{ranking.n[i]:,}",
                f"{100 * ranking.shrunk[i]:.1f} %",
                f"{100 * ranking.low[i]:.1f} to {100 * ranking.high[i]:.1f} %",
                f"{ranking.q_value[i]:.2g}" + (" ◂" if ranking.q_value[i] < LEVEL and ranking.worse[i] else ""),
            )
            for i in range(rows)
        ),
    )
