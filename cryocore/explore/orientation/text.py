"""Orientation diagnostics in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cryocore.explore.orientation.removed import Removed

if TYPE_CHECKING:
    from cryocore.explore.orientation.diagnosis import Orientation

SIGNIFICANCE = 0.05
NEGLIGIBLE_FACTOR = 0.02
"""Losses of the sampling compensation factor that matter to nobody: 2 % of the particles."""
NEGLIGIBLE_RATIO = 0.03
UNEVEN_RATIO = 0.5
"""Area ratio below which a map is called anisotropic."""
NAMED = 3


def samples_worse(o: Orientation) -> bool:
    """Whether the selection samples Fourier space less evenly than as many random correct particles would."""
    s = o.sampling
    return s.p_value < SIGNIFICANCE and s.after.factor < s.by_chance - NEGLIGIBLE_FACTOR


def resolves_worse(o: Orientation) -> bool:
    """Whether some direction of the map lost more than its overall FSC explains."""
    c = o.cones
    return c is not None and c.p_value < SIGNIFICANCE and c.after.area_ratio < c.expected_ratio - NEGLIGIBLE_RATIO


def sentences(o: Orientation) -> tuple[str, ...]:
    """The answer, and what it rests on."""
    s, e, v = o.sampling, o.empty, o.shift
    if o.rounds[0] == o.rounds[1]:
        return (
            f"Sampling compensation factor (1 for uniform views, 0.81 for side views only) of round {o.rounds[0]}: "
            f"{s.before.factor:.3f}; {100 * s.before.unsampled:.1f} % of the directions of Fourier space are not "
            f"sampled. Empty views: {100 * e.before:.1f} %.",
        )
    worse = [name for name, is_so in (("in its views", samples_worse(o)), ("in its map", resolves_worse(o))) if is_so]
    verdict = f"The selection worsens anisotropy, {' and '.join(worse)}." if worse else _fine(o)
    parts = [
        verdict,
        f"Sampling compensation factor (1 for uniform views, 0.81 for side views only): {s.before.factor:.3f} in "
        f"round {o.rounds[0]}, {s.after.factor:.3f} in round {o.rounds[1]}; {_reference(o)} have {s.by_chance:.3f}, "
        f"95 of 100 such subsets more than {s.by_chance_5:.3f}.",
        _spread_of_incorrect(o),
        _unsampled(o),
        f"{100 * v.total_variation:.1f} % of the particles, by weight, look from elsewhere than all did; by chance "
        f"{100 * v.by_chance:.1f} %, at most {100 * v.by_chance_95:.1f} % in 95 of 100 cases{_beside(o)}.",
        f"Empty views: {100 * e.before:.1f} % before, {100 * e.after:.1f} % after, {100 * e.by_chance:.1f} % to be "
        "expected.",
        _cones_sentence(o),
        _removed_sentence("view", o.removed_views, "No view is removed."),
        _removed_sentence("micrograph", o.removed_micrographs, "No micrograph is removed."),
    ]
    return tuple(part for part in parts if part)


def warnings(o: Orientation) -> tuple[str, ...]:
    """What to look at before the selection is believed."""
    s, c, found = o.sampling, o.cones, []
    if samples_worse(o):
        found.append(
            f"The selection makes the views less even: sampling compensation factor {s.before.factor:.2f} → "
            f"{s.after.factor:.2f}, where {_reference(o)} have {s.by_chance:.2f}."
        )
    if c is not None and resolves_worse(o):
        x, y, z = c.before.direction[c.most_lost]
        found.append(
            f"The selection makes the map less isotropic: the area ratio of its directional FSC is "
            f"{c.after.area_ratio:.2f}, where {c.expected_ratio:.2f} was to be expected from the overall FSC; the "
            f"direction ({x:.2f}, {y:.2f}, {z:.2f}) lost most."
        )
    if c is not None and o.ratio_sd is not None and c.after.area_ratio + 2 * o.ratio_sd[1] < UNEVEN_RATIO:
        worst = c.after.resolutions
        found.append(
            f"The map of round {o.rounds[1]} is anisotropic: {worst.max():.2f} Å in its worst direction, "
            f"{worst.min():.2f} Å in its best (area ratio {c.after.area_ratio:.2f})."
        )
    for kind, groups in (("view", o.removed_views), ("micrograph", o.removed_micrographs)):
        if groups:
            found.append(
                f"{_removed_sentence(kind, groups, '')} Wrong poses or bad images look like this, and so does a score "
                f"that dislikes a {kind}."
            )
    return tuple(found)


def _reference(o: Orientation) -> str:
    words = {
        "flags": "as many random correct particles",
        "posterior": "as many random particles that the log takes for correct",
        "all": "as many random particles",
    }
    return words[o.sampling.scored_by]


def _spread_of_incorrect(o: Orientation) -> str:
    s = o.sampling
    if o.n_before == o.n_after or s.by_chance > s.of_all - NEGLIGIBLE_FACTOR:
        return ""
    return (
        f"As many random particles, correct or not, would have {s.of_all:.3f}: wrong poses are spread more evenly than "
        "correct ones, and leaving them out shows it."
    )


def _beside(o: Orientation) -> str:
    beside = o.shift.beside_correct
    return "" if beside is None else f"; beside the correct ones {100 * beside:.1f} %"


def _fine(o: Orientation) -> str:
    s = o.sampling
    better = s.after.factor > s.before.factor + NEGLIGIBLE_FACTOR
    return f"The selection does not worsen anisotropy{'; it makes the views more even' if better else ''}."


def _unsampled(o: Orientation) -> str:
    before, after = o.sampling.before.unsampled, o.sampling.after.unsampled
    if max(before, after) == 0:
        return ""
    return f"{100 * before:.1f} % of the directions of Fourier space were not sampled, {100 * after:.1f} % are not."


def _cones_sentence(o: Orientation) -> str:
    c = o.cones
    if c is None or o.ratio_sd is None:
        return "The half maps were not read, so that nothing is said about their directional FSC."
    one, two = o.ratio_sd
    return (
        f"Directional FSC in cones of 20°: area ratio {c.before.area_ratio:.2f} ± {one:.2f} before, "
        f"{c.after.area_ratio:.2f} ± {two:.2f} after, {c.expected_ratio:.2f} to be expected from the overall FSC; "
        f"worst and best direction {c.before.resolutions.max():.2f} and {c.before.resolutions.min():.2f} Å before, "
        f"{c.after.resolutions.max():.2f} and {c.after.resolutions.min():.2f} Å after."
    )


def _removed_sentence(kind: str, groups: Sequence[Removed], none: str) -> str:
    if not groups:
        return none
    shown = "; ".join(f"{g.name}: {g.kept:.0f} of {g.n}, {g.expected:.0f} expected" for g in groups[:NAMED])
    more = f" and {len(groups) - NAMED} more" if len(groups) > NAMED else ""
    plural = f"{len(groups)} {kind}s are" if len(groups) > 1 else f"One {kind} is"
    return f"{plural} removed ({shown}{more})."
