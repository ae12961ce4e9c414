"""``grid.yaml``, ``trouble.yaml`` and ``quality.yaml`` expanded to cases: a name, its factors and an ordinary
configuration each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from cryocore.errors import InputError

GRID = Path(__file__).with_name("grid.yaml")
TROUBLE, QUALITY = GRID.with_name("trouble.yaml"), GRID.with_name("quality.yaml")
FACTORS = ("molecule", "kind", "rate", "snr", "n", "row", "seed")
SETS = {
    "table": "named rows of the page, with reference values",
    "repeats": "one small case with many seeds, for the coverage of intervals",
    "real": "images of known structures and real images, from the shared data",
    "grid": "every combination of factors",
    "trouble": "what real data sets have, a row each with several seeds",
    "clean": "those of them with nothing wrong",
    "noise": "no molecule at all, with many seeds",
    "quality": "particles or micrographs of unequal quality, with several seeds",
    "quality-grid": "every combination of their factors",
}


@dataclass(frozen=True)
class Case:
    """One data set with planted errors.

    ``factors`` what it is a combination of; ``config`` an ordinary configuration without ``run``, in which a text that
    starts with ``shared:`` is a file of the shared data; ``sets`` the names of :data:`SETS` that it belongs to;
    ``reference`` AUC by score as an independent implementation found it.
    """

    name: str
    factors: dict[str, Any]
    config: dict[str, Any]
    sets: tuple[str, ...]
    label: str = ""
    reference: dict[str, float] = field(default_factory=dict)


def read_cases(grid: Path = GRID, trouble: Path = TROUBLE, quality: Path = QUALITY) -> list[Case]:
    """All cases of the files, the named rows of the grid first."""
    plans = [yaml.safe_load(path.read_text()) for path in (grid, trouble, quality)]
    return [*expand(plans[0]), *expand_trouble(plans[1]), *expand_quality(plans[2])]


def expand(grid: dict[str, Any]) -> list[Case]:
    """All cases of a grid: named rows, repeats, shared data, then every other combination.

    Raises
    ------
    InputError  if a row names a molecule or a kind of error that the grid does not declare.
    """
    cases: dict[str, Case] = {}

    def add(case: Case) -> None:
        known = cases.get(case.name)
        cases[case.name] = case if known is None else replace(known, sets=(*known.sets, *case.sets))

    for row in grid.get("table", []):
        add(simulated(grid, sets=("table",), **row))
    repeats = dict(grid.get("repeats", {}))
    for seed in range(repeats.pop("seeds", 0)):
        add(simulated(grid, sets=("repeats",), seed=seed, **repeats))
    for entry in grid.get("real", []):
        for kind, rate in product(entry["kinds"], entry["rates"]):
            add(from_shared_data(grid, entry, kind, rate))
    for molecule, kind, rate, snr, n in product(
        grid["molecules"], grid["kinds"], grid["rates"], grid["snrs"], grid["particles"]
    ):
        add(simulated(grid, sets=("grid",), molecule=molecule, kind=kind, rate=rate, snr=snr, n=n))
    return list(cases.values())


def simulated(
    grid: dict[str, Any],
    *,
    sets: tuple[str, ...],
    molecule: str,
    kind: str,
    rate: float,
    snr: float,
    n: int,
    seed: int = 0,
    label: str = "",
    variant: str = "",
    settings: dict[str, Any] | None = None,
    reference: dict[str, float] | None = None,
) -> Case:
    """A case of a procedural molecule; a ``variant`` has ``settings`` of its own above those of the grid."""
    shape = dict(_entry(grid, "molecules", molecule))
    config = {
        "symmetry": shape.pop("symmetry"),
        "seed": seed,
        "input": {
            "simulate": {"molecule": molecule, "n_particles": n, "snr": snr, **shape},
            "plant": _planted(grid, kind, rate),
        },
    }
    config = merged(config, settings or {})
    name = f"{molecule}-{kind}-{100 * rate:g}-snr{snr:g}-n{n}" + (f"-seed{seed}" if seed else "")
    name += f"-{variant}" if variant else ""
    factors = {"molecule": molecule, "kind": kind, "rate": rate, "snr": snr, "n": n, "seed": seed}
    return Case(name, factors, _with_defaults(grid, config, rate), sets, label or name, reference or {})


def from_shared_data(grid: dict[str, Any], entry: dict[str, Any], kind: str, rate: float) -> Case:
    """A case of a known structure or of real images."""
    name = f"{entry['molecule']}-{kind}-{100 * rate:g}"
    config = merged(entry["settings"], {"input": {"plant": _planted(grid, kind, rate)}})
    factors = {"molecule": entry["molecule"], "kind": kind, "rate": rate, "seed": 0}
    return Case(name, factors, _with_defaults(grid, config, rate), ("real",), f"{entry['label']}, {kind}")


def expand_trouble(plan: dict[str, Any]) -> Iterator[Case]:
    """The rows of trouble with each seed, then noise.

    Raises
    ------
    InputError  if a row has a base that is not declared.
    """
    for row in plan["rows"]:
        own = {key: value for key, value in row.items() if key not in ("name", "label", "clean", "base")}
        config = merged(merged(plan["settings"], _entry(plan, "bases", row["base"])), own)
        sets = ("trouble", "clean") if row.get("clean") else ("trouble",)
        for seed in range(plan["seeds"]):
            yield _of_trouble(row["name"], row["label"], config, sets, seed)
    for kind, simulate in plan["noise"]["kinds"].items():
        config = merged(plan["settings"], plan["noise"]["settings"])
        config = merged(config, {"input": {"simulate": simulate}})
        for seed in range(plan["noise"]["seeds"]):
            sets = ("trouble", "noise") if seed < plan["seeds"] else ("noise",)
            yield _of_trouble(f"noise-{kind}", f"noise alone, {kind}", config, sets, seed)


def _of_trouble(row: str, label: str, config: dict[str, Any], sets: tuple[str, ...], seed: int) -> Case:
    return Case(f"trouble-{row}-seed{seed}", {"row": row, "seed": seed}, {**config, "seed": seed}, sets, label)


def expand_quality(plan: dict[str, Any]) -> Iterator[Case]:
    """Every combination of molecule, kind of B-factors, SNR and rate of wrong poses, seed by seed.

    Raises
    ------
    InputError  if what is to be measured is not declared.
    """
    wanted = set()
    for part in plan["measured"]:
        for molecule, kind in product(part["molecule"], part["kind"]):
            _entry(plan, "molecules", molecule)
            _entry(plan, "kinds", kind)
        wanted |= {*product(part["molecule"], part["kind"], part["snr"], part["rate"], range(part["seeds"]))}
    every = product(range(plan["seeds"]), plan["molecules"], plan["kinds"], plan["snrs"], plan["rates"])
    for seed, molecule, kind, snr, rate in every:
        simulate = {"snr": snr, **plan["kinds"][kind]}
        config = merged(merged(plan["settings"], plan["molecules"][molecule]), {"input": {"simulate": simulate}})
        config = merged(config, {"seed": seed, "input": {"plant": {"wrong_pose": rate}}})
        name = f"quality-{molecule}-{kind}-snr{snr:g}-{100 * rate:g}-seed{seed}"
        factors = {"molecule": molecule, "kind": kind, "rate": rate, "snr": snr, "seed": seed}
        chosen_here = (molecule, kind, snr, rate, seed) in wanted
        yield Case(name, factors, config, ("quality", "quality-grid") if chosen_here else ("quality-grid",), name)


def _entry(grid: dict[str, Any], section: str, name: str) -> Any:
    if name not in grid[section]:
        raise InputError(f"there is no {name}", setting=f"{section}", fix=f"Use one of {', '.join(grid[section])}")
    return grid[section][name]


def _planted(grid: dict[str, Any], kind: str, rate: float) -> dict[str, float]:
    return {error: round(rate * share, 6) for error, share in _entry(grid, "kinds", kind).items()}


def _with_defaults(grid: dict[str, Any], config: dict[str, Any], rate: float) -> dict[str, Any]:
    """The settings of all cases below those of one; without a rule, the known share of incorrect particles is
    dropped."""
    config = merged(grid["settings"], config)
    if "rule" in config.get("select", {}):
        return config
    kept = [round(1.0 - rate * share, 6) for share in grid["known_rate_schedule"]]
    return merged({"select": {"rule": "fraction", "value": kept}}, config)


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Nested settings, those of ``above`` counting where both have a value.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        out[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out


def chosen(cases: Iterable[Case], words: Sequence[str]) -> list[Case]:
    """The cases that words select, in their order.

    A word is a set (``table``, ``real``, ...), a pattern of names (``channel-*``) or a factor with its values
    (``snr=0.005,0.01``). A case needs one of the sets or patterns, if there are any, and all of the factors.

    Raises
    ------
    InputError  if a factor does not exist, or nothing is left.
    """
    factors = [word.split("=", 1) for word in words if "=" in word]
    names = [word for word in words if "=" not in word]
    unknown = [name for name, _ in factors if name not in FACTORS]
    if unknown:
        raise InputError(f"there is no factor {unknown[0]}", fix=f"Use one of {', '.join(FACTORS)}")
    wanted = [(name, {_plain(value) for value in values.split(",")}) for name, values in factors]
    found = [
        case
        for case in cases
        if (not names or any(name in case.sets or fnmatchcase(case.name, name) for name in names))
        and all(_plain(case.factors.get(name)) in values for name, values in wanted)
    ]
    if not found:
        raise InputError(f"no case matches {' '.join(words)}", fix="python -m experiments list shows their names")
    return found


def _plain(value: Any) -> str:
    """One text for the same number written in several ways.

    >>> _plain("0.30"), _plain(0.3), _plain("D7")
    ('0.3', '0.3', 'D7')
    """
    try:
        return f"{float(value):g}"
    except (TypeError, ValueError):
        return str(value)
