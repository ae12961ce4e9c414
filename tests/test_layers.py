"""Folders of the package import what lies below them, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "cryocore"
LAYERS = (
    {"errors", "types", "hashing", "statistics", "conventions", "markdown", "cores", "memory", "cryocore"},
    {"geometry", "backend"},
    {"tables"},
    {"formats", "figures", "training"},
    {"imaging", "maps"},
    {"log"},
    {"config"},
    {"ingest", "simulate", "reconstruct", "examine", "score", "select", "validate", "classify"},
    {"convert", "explore"},
    {"report", "workflow", "refine"},
    {"commands"},
    {"__main__"},
)
"""From the ground up; folders of one layer do not know each other, the modules of the first do."""
EXCEPTIONS = {
    ("simulate", "ingest"): "errors are planted in what ingest has read",
    ("reconstruct", "score"): "the iterative method weighs images by the noise and the sums of scores",
    ("classify", "score"): "a classifier reads the residuals that scores are made of",
    ("classify", "select"): "it goes on from the odds of the mixture",
    ("classify", "simulate"): "its incorrect examples have planted errors",
    ("config", "select"): "a rule finds its function when it is applied",
}
LEVEL = {folder: level for level, folders in enumerate(LAYERS) for folder in folders}


def imports(tree: ast.AST, *, late: bool) -> Iterator[str]:
    """Modules of the package that are imported, but for type checks; with ``late`` also those that functions import."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        elif late or not isinstance(node, ast.FunctionDef):
            yield from imports(node, late=late)


def folder_pairs(*, late: bool) -> set[tuple[str, str]]:
    """Which folder imports which; a module beside the folders stands for itself."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        here = path.relative_to(PACKAGE).parts[0].removesuffix(".py").replace("__init__", "cryocore")
        for name in imports(ast.parse(path.read_text()), late=late):
            if name.split(".")[0] == "cryocore":
                there = name.split(".")[1]
                found.add((here, there if there in LEVEL else "cryocore"))
    return {(a, b) for a, b in found if a != b}


def test_every_folder_has_a_layer() -> None:
    entries = {p.stem for p in PACKAGE.iterdir() if p.is_dir() or p.suffix == ".py"}
    assert entries - {"__init__", "__pycache__"} == set(LEVEL) - {"cryocore"}


def test_imports_go_down() -> None:
    ground = LAYERS[0]
    wrong = {(a, b) for a, b in folder_pairs(late=True) if LEVEL[a] <= LEVEL[b] and not {a, b} <= ground}
    assert wrong == set(EXCEPTIONS)


@pytest.mark.parametrize("folder", sorted(LEVEL))
def test_no_folder_imports_itself_through_others(folder: str) -> None:
    pairs = folder_pairs(late=False)
    reached, new = set(), {b for a, b in pairs if a == folder}
    while new:
        reached |= new
        new = {b for a, b in pairs if a in new} - reached
    assert folder not in reached
