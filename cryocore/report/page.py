"""The report: one HTML file with everything in it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jinja2
import yaml
from PIL import Image

from cryocore.explore.left_out import TITLES
from cryocore.report.chart import Chart
from cryocore.report.left_out import particles_figure
from cryocore.report.section import Section
from cryocore.report.verdict import recommended_sentence, verdict
from cryocore.tables.io import atomic_path
from cryocore.validate.stopping import Stop

Metrics = dict[str, Any]

PACKAGES = ("cryocore", "numpy", "scipy", "pyarrow", "mrcfile", "matplotlib", "healpix")
FIGURES = ("progress", "stopping", "fsc", "scores", "surfaces", "slices")
PICTURES = {"surfaces": 90, "slices": 90, **dict.fromkeys(map(particles_figure, TITLES), 75)}
"""Figures made of pixels, with the quality that they are compressed with; the others are drawings and stay sharp as
SVG."""
DRAWN_IN_PAGE = "fsc"
"""The figure that the page draws itself, from a chart; its file is that of the static one."""
KINDS = {
    "wrong_pose": "wrong pose",
    "local_pose": "pose a little off",
    "wrong_shift": "wrong shift",
    "junk": "noise only",
    "incorrect": "incorrect",
}


@dataclass(frozen=True)
class Provenance:
    """What made the run: its configuration and the software."""

    name: str
    config: str
    versions: dict[str, str]
    config_hash: str

    @classmethod
    def of(cls, config: dict[str, Any], log_metadata: dict[str, Any]) -> Provenance:
        """From the configuration and the metadata of a log, which names the versions that scored."""
        stored = log_metadata.get("versions")
        return cls(
            name=str(config.get("run", "run")),
            config=yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100),
            versions={**package_versions(), **(stored if isinstance(stored, dict) else {})},
            config_hash=hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12],
        )


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute and draw."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Contents:
    """What the page shows: metrics of the rounds in order, where to stop, warnings, curves, further sections and
    the name of the file of the recommended subset.
    """

    rounds: Sequence[Metrics]
    stop: Stop
    warnings: Sequence[str]
    chart: Chart
    sections: Sequence[Section]
    recommended_file: str


def write_report(path: Path, contents: Contents, figures: Path, provenance: Provenance) -> None:
    """Write the report.

    Parameters
    ----------
    path : the HTML file
    contents : what to show
    figures : folder with the ``FIGURES``, and those of the sections, each in its :func:`figure_file`
    provenance : configuration and software
    """
    rounds = contents.rounds
    drawn = [*FIGURES, *(drawing.name for section in contents.sections for drawing in section.drawings)]
    page = (
        environment()
        .get_template("page.html.j2")
        .render(
            rounds=rounds,
            first=rounds[0],
            last=rounds[-1],
            verdict=verdict(rounds[0], rounds[-1]),
            recommended=recommended_sentence(rounds, contents.stop),
            stop=contents.stop,
            recommended_file=contents.recommended_file,
            warnings=contents.warnings,
            chart=contents.chart,
            readings=_readings(contents.chart),
            sections=contents.sections,
            figures={name: inline(figures, name) for name in drawn if name != DRAWN_IN_PAGE},
            folder=Path(os.path.relpath(figures, path.parent)).as_posix(),
            provenance=provenance,
            kinds=_kind_rows(rounds),
            aucs=_auc_rows(rounds),
        )
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def environment() -> jinja2.Environment:
    """What pages are made with."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("cryocore.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {"number": _number, "percent": _percent, "tint": _tint, "file": figure_file}
    made.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    return made


def figure_file(name: str) -> str:
    """The file of a figure: a picture is a PNG, a drawing an SVG.

    >>> figure_file("surfaces"), figure_file("fsc")
    ('surfaces.png', 'fsc.svg')
    """
    return f"{name}.png" if name in PICTURES else f"{name}.svg"


def inline(folder: Path, name: str) -> str:
    """The figure as a data address: drawings as they are, pictures compressed."""
    path = folder / figure_file(name)
    if name in PICTURES:
        buffer = io.BytesIO()
        with Image.open(path) as picture:
            picture.convert("RGB").save(buffer, format="WEBP", quality=PICTURES[name], method=4)
        return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _readings(chart: Chart) -> dict[str, Any]:
    """What the page's script reads the curves with."""
    values = [panel.values for panel in chart.panels]
    return {"width": chart.width, "places": chart.places, "resolution": chart.resolution, "values": values}


def _auc_rows(rounds: Sequence[Metrics]) -> list[tuple[str, list[float | None]]]:
    """Scores and their AUC per round, the best of the last round first."""
    names = {name for m in rounds for name in m["aucs"]}
    rows = [(name, [m["aucs"].get(name) for m in rounds]) for name in names]
    return sorted(rows, key=lambda row: (-(row[1][-1] or 0.0), row[0]))


def _kind_rows(rounds: Sequence[Metrics]) -> list[dict[str, Any]]:
    """Kinds of error, with the share still kept in each round."""
    last = rounds[-1]["error_kinds"]
    return [
        {
            "name": KINDS.get(kind, kind.replace("_", " ")),
            "n": row["n"],
            "auc": row["auc"],
            "kept": [m["error_kinds"].get(kind, {}).get("kept_share") for m in rounds],
        }
        for kind, row in last.items()
    ]


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def _tint(value: float | None) -> str:
    """Strength of a cell's background, 0 at chance (AUC 0.5) to 1."""
    return "0" if value is None else f"{min(max(2.0 * value - 1.0, 0.0), 1.0) ** 2:.3f}"
