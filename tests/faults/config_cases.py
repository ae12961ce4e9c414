"""Configurations with faults of syntax, keys, types and values; none of them may run code or eat memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.case import Case, cut, cycle, directory, remove, write

ALIASES = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
LAUGHS = f"a: &a [{', '.join(['ha'] * 9)}]\n{ALIASES}"
NESTED = LAUGHS.replace("i: &i", "symmetry: &i")
SYNTAX: dict[str, tuple[bytes | str, str]] = {
    "empty": ("", "not a mapping of settings"),
    "a list": ("- run\n- symmetry\n", "not a mapping of settings"),
    "a word": ("demo\n", "not a mapping of settings"),
    "tabs": ("run: x\ninput:\n\tstar: a.star\n", r"line 3.*(tab|\\t)"),
    "unclosed bracket": ("run: [x\nseed: 1\n", "not YAML: line [23]"),
    "colon in a value": ("input:\n  star: C: disk: a.star\n", "not YAML: line 2"),
    "indentation": ("run: x\n  seed: 1\n", "not YAML: line 2"),
    "key twice": ("seed: 1\nrun: x\nseed: 2\n", "line 3: the key seed is there twice"),
    "inner key twice": ("input:\n  root: a\n  root: b\n", "line 3: the key root is there twice"),
    "two documents": ("run: a\n---\nrun: b\n", "not YAML: line 2"),
    "UTF-16": ("run: x\n".encode("utf-16"), "not UTF-8 text"),
    "Latin-1": ("run: é\n".encode("latin-1"), "not UTF-8 text"),
    "binary": (b"run: x\0\n", "not YAML"),
    "runs a program": ('run: !!python/object/apply:os.system ["touch canary"]\n', "not YAML: line 1: .*os.system"),
    "makes an object": ("run: !!python/name:os.system\n", "not YAML: line 1"),
    "template that runs code": ("__use_yte__: true\nrun: ?open('canary', 'w')\n", "there is no key __use_yte__"),
    "number of 5000 digits": ("seed: " + "1" * 5000, "not YAML: .*digits"),
    "date that is none": ("run: 2024-13-45\n", "not YAML: month must be in 1"),
    "unknown anchor": ("run: *nobody\n", "not YAML: line 1: found undefined alias"),
    "a thousand million laughs": (LAUGHS, "more than 5000 values"),
    "laughs as a value": (NESTED, "more than 5000 values"),
    "anchor of itself": ("input: &x\n  simulate: *x\n", "more than 5000 values"),
    "500 brackets": ("run: " + "[" * 500, "not YAML"),
    "keys that are no words": ("1: 2\nnull: 3\n", "1: Keys should be strings"),
    "key that is a list": ("? [a, b]\n: 3\n", "not YAML: line 1"),
    "Snakemake's profile": ("cores: 8\nuse-conda: true\n", "there is no key cores .*there is no key use-conda"),
}
VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "misspelt key": ({"n_rouds": 3}, r"there is no key n_rouds \(did you mean n_rounds\?\)"),
    "misspelt inner key": ({"score": {"n_band": 3}}, r"no key score.n_band \(did you mean score.n_bands\?\)"),
    "key in another block": ({"n_bands": 8}, r"there is no key n_bands \(did you mean score.n_bands\?\)"),
    "thousand unknown keys": ({f"key{i}": i for i in range(1000)}, "there is no key key0; .*and 995 more"),
    "block is a word": ({"input": "particles.star"}, "input: .*(mapping|block|dictionary)"),
    "block is empty": ({"select": None}, "select: .*(mapping|block|dictionary)"),
    "block is a list": ({"select": [0.9]}, "select: .*(mapping|block|dictionary)"),
    "run above": ({"run": "../other"}, "run: '../other' .*letters"),
    "run of two dots": ({"run": ".."}, "run: '..' .*letters"),
    "run in a folder": ({"run": "a/b"}, "run: 'a/b' .*letters"),
    "run that is an option": ({"run": "-rf"}, "run: '-rf' .*letters"),
    "run with a command": ({"run": "x$(touch canary)"}, "run: .*letters"),
    "run with a line end": ({"run": "x\n"}, "run: .*letters"),
    "run of nothing": ({"run": ""}, "run: '' .*letters"),
    "run is a number": ({"run": 7}, "run: 7 should be a valid string"),
    "run of 300 letters": ({"run": "x" * 300}, "run: .*at most 100 characters"),
    "no rounds": ({"n_rounds": 0}, "n_rounds: 0 should be greater than or equal to 1"),
    "half a round": ({"n_rounds": 1.5}, "n_rounds: 1.5 should be a valid integer"),
    "rounds as text": ({"n_rounds": "four"}, "n_rounds: 'four' should be a valid integer"),
    "rounds of a list": ({"n_rounds": [4]}, r"n_rounds: \[4\] should be a valid integer"),
    "rounds: yes": ({"n_rounds": True}, "n_rounds: yes and no are no numbers"),
    "negative seed": ({"seed": -1}, "seed: -1 should be greater than or equal to 0"),
    "huge seed": ({"seed": 10**30}, "seed: 1000.* should be"),
    "no such point group": ({"symmetry": "Q7"}, "symmetry: 'Q7' is no point group; use C1"),
    "point group C0": ({"symmetry": "C0"}, "symmetry: 'C0' is no point group"),
    "point group: no": ({"symmetry": False}, "symmetry: False is no point group"),
    "no such backend": ({"backend": "gpu"}, "backend: 'gpu' should be 'auto', 'cpu' or 'cuda'"),
    "particles without point group": ({"input": {"star": "a.star"}}, "symmetry: say which point group"),
    "truth of a simulation": ({"input": {"truth": "t.parquet"}}, "input: a simulation knows its own truth"),
    "truth and planted errors": (
        {"symmetry": "C1", "input": {"star": "a.star", "truth": "t.parquet", "plant": {"junk": 0.1}}},
        "input: planted errors make their own truth",
    ),
    "STAR file is a list": ({"symmetry": "C1", "input": {"star": ["a", 3]}}, "input.star: .* should be a valid str"),
    "STAR file with a line end": ({"symmetry": "C1", "input": {"star": "a\nb"}}, "input.star: .* control character"),
    "STAR file with a NUL": ({"symmetry": "C1", "input": {"star": "a\0b"}}, "input.star: .* control character"),
    "STAR file with a dash": ({"symmetry": "C1", "input": {"star": "-x.star"}}, "input.star: .*: write ./-x.star"),
    "a STAR file twice": ({"symmetry": "C1", "input": {"star": ["a", "a"]}}, "input.star: .* names a file twice"),
    "no STAR files": ({"symmetry": "C1", "input": {"star": []}}, "input.star: .* should be a valid string, or a list"),
    "passthrough of several": (
        {"symmetry": "C1", "input": {"star": ["a.cs", "b.cs"], "passthrough": "c.cs"}},
        "passthrough: only a single cryoSPARC .cs file has one",
    ),
    "class -1": ({"symmetry": "C1", "input": {"star": "a.star", "class": -1}}, "input.class: -1 should be greater"),
    "STAR file of nothing": ({"symmetry": "C1", "input": {"star": ""}}, "input.star: '' is no file name"),
    "pixel size 0": ({"input": {"pixel_size_angstrom": 0}}, "input.pixel_size_angstrom: 0 should be greater than 0"),
    "pixel size NaN": ({"input": {"pixel_size_angstrom": float("nan")}}, "pixel_size_angstrom: nan should be"),
    "pixel size infinite": (
        {"input": {"pixel_size_angstrom": float("inf")}},
        "pixel_size_angstrom: inf should be a fin",
    ),
    "pixel size with unit": ({"input": {"pixel_size_angstrom": "1.2 A"}}, "'1.2 A' should be a valid number"),
    "errors beyond all": ({"input": {"plant": {"junk": 0.7, "wrong_pose": 0.7}}}, "the rates add up to 1.4"),
    "rate of 30 %": ({"input": {"plant": {"junk": "30 %"}}}, "input.plant.junk: '30 %' should be a valid number"),
    "rate of 30": ({"input": {"plant": {"junk": 30}}}, "input.plant.junk: 30 should be less than or equal to 1"),
    "range from high to low": (
        {"score": {"perturbed_angle_deg": [20, 5]}},
        "score.perturbed_angle_deg: a range goes from low to high",
    ),
    "range of three": ({"score": {"perturbed_angle_deg": [1, 2, 3]}}, "score.perturbed_angle_deg: .* at most 2 items"),
    "range of one": ({"score": {"perturbed_angle_deg": 5}}, "score.perturbed_angle_deg: 5 should be"),
    "odd box": ({"input": {"simulate": {"box": 25}}}, "input.simulate.box: 25 should be a multiple of 2"),
    "more shards than particles": ({"n_shards": 300, "input": {"simulate": {"n_particles": 200}}}, "n_shards: 200"),
    "enormous box": ({"input": {"simulate": {"box": 10**9}}}, "input.simulate.box: 1000000000 should be less than"),
    "enormous number of particles": ({"input": {"simulate": {"n_particles": 10**15}}}, "should be less than or equal"),
    "padding of a list": ({"reconstruct": {"padding": [1, 2]}}, r"reconstruct.padding: \[1, 2\] should be a valid num"),
    "padding 30": ({"reconstruct": {"padding": 30}}, "reconstruct.padding: 30 should be less than or equal to 3"),
    "resolution -5": (
        {"reconstruct": {"max_resolution_angstrom": -5}},
        "max_resolution_angstrom: -5 should be greater",
    ),
    "mask is a mapping": ({"reconstruct": {"mask": {"file": "m"}}}, "reconstruct.mask: .* should be a valid string"),
    "no values": ({"select": {"value": []}}, r"select.value: .* at least 1 item"),
    "fraction 1.5": (
        {"select": {"rule": "fraction", "value": [0.9, 1.5]}},
        "select: value: fraction takes numbers > 0 and ≤ 1; got 1.5",
    ),
    "value of yes": ({"select": {"rule": "fraction", "value": True}}, "select.value: yes and no are no numbers"),
    "cut-offs of yes": ({"score": {"cryosieve_angstrom": [True]}}, "cryosieve_angstrom: yes and no are no numbers"),
    "resolution of yes": (
        {"reconstruct": {"max_resolution_angstrom": True}},
        "max_resolution_angstrom: yes and no are no numbers",
    ),
    "number as YAML 1.1 has none": ({"select": {"rule": "fraction", "value": "1e-1"}}, "'1e-1' is text, not a number"),
    "half a particle": ({"select": {"rule": "count", "value": 2.5}}, "count takes whole numbers ≥ 2; got 2.5"),
    "value under its rule": (
        {"select": {"fraction": [0.9]}},
        r"select: there is no key fraction; the value of a rule is select: \{rule: fraction, value: \.\.\.\}",
    ),
    "score that the rule ignores": ({"select": {"score": "zc"}}, "select: score: soft takes no notice of zc"),
    "score of another rule": (
        {"select": {"rule": "mixture", "score": "probability"}},
        "mixture takes no notice of probability, it ranks by mixture",
    ),
    "values as text": ({"select": {"value": "most"}}, "select.value: 'most' is text, not a number"),
    "6000 values": ({"select": {"value": [7] * 6000}}, "more than 5000 values"),
    "no such score": ({"select": {"score": "beauty"}}, "select.score: 'beauty' should be"),
    "no such rule": ({"select": {"rule": "best"}}, "select.rule: 'best' should be 'soft'"),
    "score without poses": (
        {"score": {"n_random_poses": 0}, "select": {"rule": "fraction", "score": "contrast"}},
        "select.score: contrast needs score.n_random_poses of at least 2",
    ),
    "probability without classifier": ({"select": {"rule": "probability"}}, "select: probability needs a classifier"),
    "LBFGS in batches": ({"reconstruct": {"iterative": {"batch_size": 8}}}, "LBFGS needs the gradient of all"),
}


def content(values: dict[str, Any]) -> Callable[[Path], object]:
    """JSON, which is YAML."""
    return lambda path: path.write_text(json.dumps(values).replace("NaN", ".nan").replace("Infinity", ".inf"))


CHECK, FILE = "cryocore check", "my.yaml"
CONFIGURATIONS = {
    **{name: Case(CHECK, FILE, write(text), says) for name, (text, says) in SYNTAX.items()},
    **{name: Case(CHECK, FILE, content(values), says) for name, (values, says) in VALUES.items()},
    "missing": Case(CHECK, FILE, remove, "file does not exist. Give an existing configuration"),
    "directory": Case(CHECK, FILE, directory, "cannot be read .Is a directory"),
    "link to itself": Case(CHECK, FILE, cycle, "cannot be read .*symbolic links"),
    "cut short": Case(CHECK, FILE, cut(-1), "not YAML: line"),
    "of 100 MB": Case(CHECK, FILE, lambda path: os.truncate(path, 10**8), "100000000 bytes"),
}
