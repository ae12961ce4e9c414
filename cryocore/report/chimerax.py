"""A script for ChimeraX that opens the maps of a run at one threshold, in the colours of its rounds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.colors import to_hex

from cryocore.errors import InputError
from cryocore.figures.look import QUIET, round_colour
from cryocore.tables.io import atomic_path


@dataclass(frozen=True)
class ShownMaps:
    """Rounds in order, all at one ``level`` (in the maps' units); ``shown`` is the one to begin with.

    ``indices`` : places of the rounds among all ``count`` rounds, which decide their colours
    """

    rounds: tuple[int, ...]
    indices: tuple[int, ...]
    count: int
    shown: int
    level: float


def write_script(path: Path, run_dir: Path, maps: ShownMaps, *, run: str) -> None:
    """Write the commands; paths in them start at the script's folder, where ChimeraX runs it.

    Parameters
    ----------
    path : the script, ``.cxc``
    run_dir : holds ``round_{r}/map.mrc``, ``half1.mrc``, ``half2.mrc`` and ``mask.mrc``
    maps : what to open
    run : its name, for the first line
    """
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(_commands(path.parent, run_dir, maps, run)) + "\n", encoding="utf-8")


def _commands(folder: Path, run_dir: Path, maps: ShownMaps, run: str) -> list[str]:
    def opened(number: int, file: str, model: int, name: str) -> str:
        source = os.path.relpath(run_dir / f"round_{number}" / file, folder)
        return f"open {quoted(Path(source).as_posix())} id {model} name {quoted(name)}"

    models = range(1, len(maps.rounds) + 1)
    mask = len(maps.rounds) + 1
    shown = maps.rounds.index(maps.shown) + 1
    others = [m for m in models if m != shown]
    colours = [to_hex(round_colour(i, maps.count)) for i in maps.indices]
    halves = [opened(maps.shown, f"half{h}.mrc", mask + h, f"round {maps.shown}, half map {h}") for h in (1, 2)]
    return [
        f"# Maps of the run {' '.join(run.split())} at one threshold, for an empty session of ChimeraX.",
        f"# Shown: round {maps.shown}. The others, and the mask, appear when ticked in the model panel.",
        *(opened(r, "map.mrc", m, f"round {r}") for m, r in zip(models, maps.rounds, strict=True)),
        f"volume {_span(models)} style surface step 1 level {maps.level:.6g}",
        *(f"volume #{m} color {colour}" for m, colour in zip(models, colours, strict=True)),
        opened(maps.rounds[-1], "mask.mrc", mask, "mask"),
        f"volume #{mask} style mesh step 1 level 0.5 color {QUIET.lower()}",
        "set bgColor white",
        "lighting soft",
        "graphics silhouettes true",
        f"hide #{','.join(map(str, [*others, mask]))} models",
        "view",
        "# The front view of the report: along y, z up.",
        "turn x -90",
        f"# The half maps of round {maps.shown}: take the signs away from the lines below.",
        *(f"# {line}" for line in halves),
        f"# volume {_span(range(mask + 1, mask + 3))} style surface step 1 level {maps.level:.6g}",
    ]


def _span(models: Sequence[int]) -> str:
    return f"#{models[0]}" if len(models) == 1 else f"#{models[0]}-{models[-1]}"


def quoted(text: str) -> str:
    """A word of a ChimeraX command, in the quotes that it does not hold; ChimeraX knows no escapes in file names.

    >>> quoted("my run/map.mrc"), quoted('5" map.mrc')
    ('"my run/map.mrc"', '\\'5" map.mrc\\'')
    """
    mark = next((mark for mark in "\"'" if mark not in text), None)
    if mark is None or any(c in text for c in "\r\n"):
        raise InputError(
            f"ChimeraX cannot open {text!r}", fix="Rename the folder: no line breaks, not both kinds of quotes"
        )
    return f"{mark}{text}{mark}"
