"""Which files a script's result depends on: its own text and every local source it can reach by imports."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "cryocore"
SOURCES = (".cu", ".cuh", ".h", ".hpp", ".c", ".cpp", ".j2", ".css", ".js")
"""Suffixes of the files that count as code of the package they lie in."""


def code_version(script: str | Path, *, root: str | Path) -> dict[str, str]:
    """Digests of the code that a script runs, without importing any of it.

    A file counts if the script imports it, directly or through other files of the package. Imports below
    ``if TYPE_CHECKING:`` do not count. With a subpackage come its kernels, templates and styles (``SOURCES``),
    also those in folders below it.

    Parameters
    ----------
    script : the script, relative to ``root`` or absolute
    root : directory that holds the package

    Returns
    -------
    dict of path relative to ``root`` -> first 8 hexadecimal digits of the file's SHA-256, sorted by path; a script
    outside ``root`` goes by its name and that of its folder.
    The digest changes with the content only, not with the file's time.
    """
    root = Path(root)
    todo = [root / script]
    found: dict[Path, str] = {}
    while todo:
        file = todo.pop()
        if file in found:
            continue
        found[file], names = _read(file, file.stat().st_mtime_ns, _module_name(file, root))
        for name in names:
            todo.extend(_files_of(name, root))
    return {_parts(file, root).as_posix(): found[file] for file in sorted(found)}


@cache
def _read(file: Path, _changed: int, module: str) -> tuple[str, tuple[str, ...]]:
    """Digest of a file and the names that it imports from the package."""
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:8]
    if file.suffix in SOURCES:
        return digest, ()
    try:
        tree = ast.parse(content)
    except SyntaxError:  # the stage itself reports it, with the line
        return digest, ()
    here = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return digest, tuple(sorted({n for n in _imports(tree, here) if n.split(".")[0] == PACKAGE}))


def _imports(node: ast.AST, here: str) -> Iterator[str]:
    """Absolute names that may be modules; ``from a import b`` gives ``a.b``, which may also be a function of ``a``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = ".".join(here.split(".")[: len(here.split(".")) - child.level + 1]) if child.level else ""
            origin = ".".join(part for part in (base, child.module) if part)
            yield from (f"{origin}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test).split(".")[-1] == "TYPE_CHECKING":
            for other in child.orelse:
                yield from _imports(ast.Module([other], []), here)
        else:
            yield from _imports(child, here)


def _files_of(name: str, root: Path) -> Iterator[Path]:
    """The files that run when ``name`` is imported: every package on the way, then the module."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        path = root.joinpath(*parts[:depth])
        module = path.with_suffix(".py")
        if (path / "__init__.py").is_file():
            yield path / "__init__.py"
        if path.is_dir() and depth > 1:
            yield from (p for p in sorted(path.rglob("*")) if p.suffix in SOURCES and p.is_file())
        elif module.is_file():
            yield module


def _module_name(file: Path, root: Path) -> str:
    parts = _parts(file, root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _parts(file: Path, root: Path) -> Path:
    """The file's path below ``root``. Snakemake keeps a script of a repository as ``scripts/name.py@version``."""
    return file.relative_to(root) if file.is_relative_to(root) else Path(file.parent.name, file.name.split("@")[0])
