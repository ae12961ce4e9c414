"""The page of an audit: a verdict, one figure, and a section for each question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryocore.explore.audit.answers import Answer
from cryocore.explore.audit.audit import Audit
from cryocore.explore.audit.figures import audit_figure
from cryocore.figures.look import save
from cryocore.report.page import environment, inline, package_versions
from cryocore.report.section import Section, Table
from cryocore.tables.io import atomic_path, write_json

SHORT = {
    "size": "Size",
    "local": "Parts",
    "noise": "Noise",
    "views": "Views",
    "stability": "Stability",
    "held_out": "Held out",
}
READING = {
    "size": "Random lists have as many particles of each half set as the list. If one of them gives as good a map, the "
    "scores have found nothing.",
    "local": "Half maps of all particles, of the list and of random lists are cut by the same soft spheres. The local "
    "resolution is where the FSC of such a window falls to 0.5; gains are those of its mean over the shells in use. "
    "Chance is what random lists differ by. A list of few particles may lose everywhere and still be the best of its "
    "size: that is not counted against it.",
    "noise": "Images keep their amplitudes and lose their phases beyond the cut. Scores, rules and rounds are those of "
    "the run. All that lies before the cut is taken out of the half maps before the mask is applied, so that the mask "
    "carries nothing over. A method that lets one half set see the other one makes them agree.",
    "views": "Within each half set and each bin the same number of particles is drawn at random. A map that is as good "
    "was not made by the scores.",
    "stability": "The mixture of the scores is fitted anew to one half of the particles, whose images are not compared "
    "again. A Jaccard index is what two lists share, of all that is on either.",
    "held_out": "A half map of the list, and one of a random list of the same size, are compared with images of the "
    "other half set, by which neither was made or chosen. An image shows the map with the probability that is the "
    "list's share, or else noise.",
}


@dataclass(frozen=True)
class Tile:
    """A number that stands out, and what it is beside."""

    name: str
    value: str
    more: str


def write_audit(found: Audit, folder: Path) -> list[Path]:
    """Write ``audit.html``, ``audit.json`` and ``audit.svg``, the figure."""
    figure, page, values = (folder / f"audit.{suffix}" for suffix in ("svg", "html", "json"))
    save(audit_figure(found), figure)
    text = (
        environment()
        .get_template("audit.html.j2")
        .render(
            found=found,
            tiles=tiles(found),
            warnings=[a.sentence for a in found.answers if a.verdict == "failed"],
            sections=[section(answer) for answer in found.answers],
            ruler=ruler_rows(found),
            versions=package_versions(),
            figures={"audit": inline(folder, "audit")},
            folder=".",
        )
    )
    with atomic_path(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    write_json(values, found.as_dict())
    return [page, figure, values]


def tiles(found: Audit) -> list[Tile]:
    """What the answers come to, in numbers."""
    size, noise, stable, held = (found.of(name).values for name in ("size", "noise", "stability", "held_out"))
    made = []
    if size:
        beside = f"random lists {size['low']:.3f} to {size['high']:.3f}"
        made.append(Tile("FSC area", f"{size['area']:.3f}", beside))
    local = found.of("local").values
    if local:
        before, after = (np.median(local[name]["local_resolutions_angstrom"]) for name in ("all", "list"))
        made.append(Tile("Median local resolution", f"{after:.2f} Å", f"{before:.2f} Å with all particles"))
    if noise:
        value, sd = noise["selected"]["correlation"], noise["selected"]["sd"]
        made.append(Tile("FSC where there is noise", _signed(value), f"± {sd:.3f} by chance"))
    if stable:
        made.append(Tile("Jaccard index from half", f"{np.mean(stable['jaccard']):.3f}", _chance(stable)))
    if held:
        gain = f"± {held['sd']:.2f} nats per image of the other half set"
        made.append(Tile("Held-out likelihood", _signed(held["gain"], 2), gain))
    return made


def section(answer: Answer) -> Section:
    """The section of one question."""
    table = TABLES[answer.name](answer.values) if answer.values else None
    return Section(
        answer.name.replace("_", "-"),
        SHORT[answer.name],
        answer.question,
        answer.sentence,
        tables=() if table is None else (table,),
        reading=READING[answer.name],
    )


def ruler_rows(found: Audit) -> list[tuple[str, str]]:
    """What the ruler is made of."""
    values = found.ruler.as_dict()
    return [
        ("Mask", f"{values['mask_sha256']}, {values['mask_voxels']:,.0f} voxels"),
        ("Box", f"{values['box']} of {values['pixel_size_angstrom']:.4g} Å"),
        ("Last shell", f"{values['last_shell']}, {found.ruler.resolution_angstrom[values['last_shell']]:.2f} Å"),
        ("Operators of the point group", str(values["operators"])),
        ("Cut", f"shell {values['cut_shell']}, {values['cut_angstrom']:.2f} Å"),
        ("Seed", str(values["seed"])),
        ("Windows", f"{values['windows']} of {values['window_angstrom']:.0f} Å"),
    ]


def _maps(values: Mapping[str, Any]) -> Table:
    listed, others = values["list"], values["others"]
    rows = [("the list", 1, listed["area"], listed["resolution_angstrom"])]
    for name, of in (("the others, lowest", np.min), ("mean", np.mean), ("highest", np.max)):
        area, resolution = (float(of([o[key] for o in others])) for key in ("area", "resolution_angstrom"))
        rows.append((name, len(others), area, resolution))
    return Table(
        f"Maps of {listed['n_particles']:,} particles each",
        ("List", "Maps", "FSC area", "Resolution (Å)"),
        tuple((name, f"{n}", f"{area:.4f}", f"{resolution:.2f}") for name, n, area, resolution in rows),
    )


def _local(values: Mapping[str, Any]) -> Table:
    maps = [("all particles", values["all"]), ("the list", values["list"])]
    maps += [(f"random {i + 1}", other) for i, other in enumerate(values["others"])]
    rows = []
    for name, found in maps:
        quarters = np.percentile(found["local_resolutions_angstrom"], (25, 50, 75))
        numbers = (*(f"{q:.2f}" for q in quarters), f"{np.mean(found['local_areas']):.4f}")
        rows.append((name, f"{found['n_particles']:,}", *numbers))
    head = ("List", "Particles", "Best quarter (Å)", "Median (Å)", "Worst quarter (Å)", "Mean local FSC")
    return Table("Local resolution", head, tuple(rows))


def _noise(values: Mapping[str, Any]) -> Table:
    rows = [("selected", values["selected"]), *((f"random {i + 1}", r) for i, r in enumerate(values["random"]))]
    return Table(
        f"Beyond the cut, {values['n_particles']:,} particles each; Jaccard index with the list "
        f"{values['jaccard_with_list']:.3f}",
        ("List", "Mean FSC", "By chance"),
        tuple((name, _signed(v["correlation"], 4), f"± {v['sd']:.4f}") for name, v in rows),
    )


def _stability(values: Mapping[str, Any]) -> Table:
    found = values["jaccard"]
    rows = [(name, float(of(found))) for name, of in (("halves, lowest", np.min), ("mean", np.mean))]
    rows += [] if values["before"] is None else [("list of the round before", values["before"])]
    rows.append(("by chance", values["by_chance"]))
    return Table("Jaccard index with the list", ("List", "Index"), tuple((name, f"{v:.4f}") for name, v in rows))


def _held_out(values: Mapping[str, Any]) -> Table:
    rows = (("images", f"{values['n']:,}"), ("gain per image (nats)", f"{values['gain']:+.4f} ± {values['sd']:.4f}"))
    return Table("The list's map beside a random one's", ("", ""), rows)


TABLES = {
    "size": _maps,
    "local": _local,
    "views": _maps,
    "noise": _noise,
    "stability": _stability,
    "held_out": _held_out,
}


def _signed(value: float, digits: int = 3) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _chance(values: Mapping[str, Any]) -> str:
    return f"by chance {values['by_chance']:.3f}"
