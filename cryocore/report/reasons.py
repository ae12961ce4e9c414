"""The section on what is left out: for which reasons, and how surely these are told apart."""

from __future__ import annotations

from typing import Any

from cryocore.report.section import Section, Table

Metrics = dict[str, Any]

NAMED = "reasons", "Left out", "Why are particles left out?"
REASONS = ("orientation", "position", "no_particle", "defocus", "spoilt", "quality", "unknown", "view_guard")
KINDS = {
    "correct": "correct",
    "misoriented": "another view",
    "slightly_misoriented": "turned a little",
    "miscentred": "off centre",
    "junk": "no particle",
    "wrong_defocus": "wrong defocus",
}
UNSURE = 0.5
"""Share of a kind's particles that are expected to be of it, below which it is not told apart."""
FEW = 0.05
"""Share of all incorrect particles up to which the model may find a kind where there is none."""
READING = (
    "Orientation: another view than the pose says, or one turned by some degrees. Position: the particle lies "
    "elsewhere in the image. No particle: nothing of the map is in it. Defocus: that of its micrograph is wrong. "
    "Spoilt: something else in the image, such as a gold bead, hides the particle. "
    "Quality: probably correct, but not good enough for the rule. View guard: listed all the same, for its rare view. "
    "The second table says what the particles of each kind are expected to be by the model of the scores. A kind is "
    "not clear if most are expected to be of others, or if less than 5 % of the incorrect ones are of it: then its "
    "number means little."
)


def reasons_section(recommended: Metrics, assessed: Metrics, file: str) -> Section:
    """Reasons of the recommended round, and the kinds by the scores that chose it; ``file`` lists all particles."""
    counts, n = recommended["reasons"], recommended["n_particles"]
    dropped = n - recommended["n_kept"]
    if not dropped:
        return Section(*NAMED, f"None is left out of the recommended subset, round {recommended['round']}.")
    guarded = counts.get("view_guard", 0)
    rescued = f" {guarded:,} are listed for their rare views alone." if guarded else ""
    where = f" {file} holds all particles, each with its reason." if file else ""
    rows = tuple(
        (name.replace("_", " "), f"{counts[name]:,}", f"{100 * counts[name] / n:.1f} %")
        for name in REASONS
        if name in counts
    )
    kinds = assessed["kinds"]
    tables = [Table("Reasons", ("Reason", "Particles", "Of all"), rows)] if rows else []
    return Section(
        *NAMED,
        f"Round {recommended['round']} leaves out {dropped:,} of {n:,} particles.{rescued}{where}",
        tables=(*tables, *([kinds_table(kinds)] if kinds else [])),
        reading=READING,
    )


def kinds_table(kinds: dict[str, dict[str, float]]) -> Table:
    """What the particles that are most probably of a kind are expected to be."""
    total = {name: sum(row[name] for row in kinds.values()) for name in kinds}
    incorrect = sum(total.values()) - total["correct"]
    rows = []
    for name, expected in kinds.items():
        n = sum(expected.values())
        if n < 0.5:
            continue
        own, enough = expected[name] / n, name == "correct" or total[name] > FEW * incorrect
        share, other = max((v / n, other) for other, v in expected.items() if other != name)
        told = f"{100 * share:.0f} % {KINDS[other]}" if share >= 0.01 else ""
        rows.append((KINDS[name], f"{n:,.0f}", f"{100 * own:.0f} %", told, "yes" if own >= UNSURE and enough else "no"))
    head = ("Most probably", "Particles", "Expected", "Or else", "Clear")
    return Table("How surely kinds are told apart", head, tuple(rows))
