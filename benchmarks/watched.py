"""What decides about a measured number: the code of the stages, that of what measures, and what is declared to it.

Unlike a stage, which imports the package alone, what measures is spread over ``benchmarks`` and ``experiments``, reads
YAML files beside it, and runs the workflow. What keeps results, and writes pages and figures, does not count.
"""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml

from cryocore.workflow.provenance import code_version

PACKAGES = ("benchmarks", "experiments")
RECORDING = {
    "again",
    "blocks",
    "claims",
    "figure",
    "figures",
    "machine",
    "page",
    "same",
    "sections",
    "tables",
    "texts",
    "watched",
}
"""Last parts of the names of modules that keep, write or compare what was measured."""
FOR_PEOPLE = {"label", "by", "about"}
"""Keys of YAML files that say something to people."""
WORKFLOW = ("Snakefile", "workflow/Snakefile", "rules/*.smk")


def watched(root: Path, files: Sequence[str]) -> dict[str, str]:
    """Digests by path below ``root`` of the files that measure, and of all that these import or read there."""
    found: dict[str, str] = {}
    todo = [root / file for file in files if (root / file).is_file()]
    while todo:
        file = todo.pop()
        name = file.relative_to(root).as_posix()
        if name in found:
            continue
        found |= code_version(file, root=root)
        if name.split("/")[0] in PACKAGES:
            tree = ast.parse(file.read_bytes())
            todo += [module for module in _modules(tree, root) if not _records(module)]
            found |= {path.relative_to(root).as_posix(): _declared(path) for path in _beside(tree, file)}
    for pattern in WORKFLOW:
        found |= {path.relative_to(root).as_posix(): _text(path) for path in sorted(root.glob(pattern))}
    return found


def checked_out(root: Path, commit: str, folder: Path) -> Path:
    """The files of a commit of the repository ``root``, below a folder."""
    archive = subprocess.run(["git", "archive", commit], cwd=root, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def digest(values: object) -> str:
    """Of what JSON can hold."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _modules(tree: ast.AST, root: Path) -> Iterator[Path]:
    """Files of ``PACKAGES`` that a module imports; ``from a import b`` may name a module of ``a``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] in PACKAGES:
                module = root.joinpath(*name.split("."))
                yield from (path for path in (module.with_suffix(".py"), module / "__init__.py") if path.is_file())


def _records(module: Path) -> bool:
    return module.stem.endswith("_page") or module.stem in RECORDING


def _beside(tree: ast.AST, file: Path) -> Iterator[Path]:
    """YAML files beside a module that it names, and those in a folder beside it."""
    names = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for name in sorted(name for name in names if name.removesuffix(".yaml").isidentifier()):
        path = file.with_name(name)
        if path.is_dir():
            yield from path.glob("*.yaml")
        elif path.suffix and path.is_file():
            yield path


def _declared(path: Path) -> str:
    """Of what a YAML file says to programs."""
    return digest(_without(yaml.safe_load(path.read_text())))


def _without(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _without(value) for key, value in values.items() if key not in FOR_PEOPLE}
    return [_without(value) for value in values] if isinstance(values, list) else values


def _text(path: Path) -> str:
    """Of a rule's lines, comments apart."""
    lines = (line.rstrip() for line in path.read_text().splitlines())
    return digest([line for line in lines if line and not line.lstrip().startswith("#")])
