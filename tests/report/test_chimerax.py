"""The script for ChimeraX, read by a small grammar of the commands it uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from matplotlib.colors import to_hex

from cryocore.errors import InputError
from cryocore.figures.look import round_colour
from cryocore.report.chimerax import ShownMaps, quoted, write_script

MODELS = r"#\d+(?:[-,]\d+)*"
NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
TEXT = r"""(?:"[^"\n]*"|'[^'\n]*')"""
COMMANDS = {
    "open": rf"{TEXT} id \d+ name {TEXT}",
    "volume": rf"{MODELS}(?: style (?:surface|mesh)| step \d+| level {NUMBER}| color #[0-9a-f]{{6}})+",
    "set": r"bgColor white",
    "lighting": r"(?:simple|full|soft|gentle|flat)",
    "graphics": r"silhouettes (?:true|false)",
    "hide": rf"{MODELS} models",
    "view": "",
    "turn": rf"[xyz] {NUMBER}",
}
"""After https://www.rbvi.ucsf.edu/chimerax/docs/user/commands: what may follow each word."""

MAPS = ShownMaps(rounds=(0, 2, 4), indices=(0, 2, 4), count=5, shown=2, level=0.0123456789)


def commands(path):
    """Lines that are run, each checked against the grammar."""
    lines = path.read_text(encoding="utf-8").splitlines()
    run = [line for line in lines if not line.startswith("#")]
    for line in run:
        word, _, rest = line.partition(" ")
        assert re.fullmatch(COMMANDS[word], rest), line
    return run


def write(path, run_dir, maps=MAPS, run="demo"):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_script(path, run_dir, maps, run=run)
    return commands(path)


def test_maps_open_at_one_level_in_the_colours_of_their_rounds(tmp_path):
    found = write(tmp_path / "maps.cxc", tmp_path)
    opened = [re.match(r'open "(.*?)" id (\d) name "(.*)"', line).groups() for line in found if line.startswith("open")]
    assert opened == [
        ("round_0/map.mrc", "1", "round 0"),
        ("round_2/map.mrc", "2", "round 2"),
        ("round_4/map.mrc", "3", "round 4"),
        ("round_4/mask.mrc", "4", "mask"),
    ]
    assert "volume #1-3 style surface step 1 level 0.0123457" in found
    colours = [to_hex(round_colour(i, 5)) for i in (0, 2, 4)]
    assert len(set(colours)) == 3
    assert [line for line in found if re.match("volume #. color", line)] == [
        f"volume #{m} color {colour}" for m, colour in enumerate(colours, start=1)
    ]
    assert "hide #1,3,4 models" in found
    order = [found.index(next(x for x in found if x.startswith(w))) for w in ("open", "volume", "hide", "view")]
    assert order == sorted(order)


def test_half_maps_are_there_to_be_uncommented(tmp_path):
    write(tmp_path / "maps.cxc", tmp_path)
    path = tmp_path / "maps.cxc"
    text = re.sub(r"^# (?=open|volume)", "", path.read_text(), flags=re.MULTILINE)
    path.write_text(text)
    found = commands(path)
    assert [x for x in found if "half" in x] == [
        f'open "round_2/half{h}.mrc" id {4 + h} name "round 2, half map {h}"' for h in (1, 2)
    ]
    assert found[-1].startswith("volume #5-6 ")


def test_one_round(tmp_path):
    found = write(tmp_path / "maps.cxc", tmp_path, ShownMaps((0,), (0,), 1, 0, -2e-7), run="a\nquit")
    assert [line for line in found if line.startswith("hide")] == ["hide #2 models"]
    assert "volume #1 style surface step 1 level -2e-07" in found
    assert "quit" not in found


@pytest.mark.parametrize("name", ["my run", 'a 5" run', "it's; quit", "größe #1"])
def test_paths_are_relative_and_quoted(tmp_path, name):
    found = write(tmp_path / "scripts" / "maps.cxc", tmp_path / name)
    source = re.match(r"""open (["'])(.*?)\1 id 1 """, found[0])[2]
    assert (tmp_path / "scripts" / source).resolve() == (tmp_path / name / "round_0" / "map.mrc").resolve()
    assert not Path(source).is_absolute()


def test_names_that_cannot_be_quoted():
    for name in ("both \"and' ", "a\nb"):
        with pytest.raises(InputError, match="ChimeraX cannot open"):
            quoted(name)
