"""Which files a script's result depends on: its own text and every local source that it can reach."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from cryocore.workflow import meaning

PACKAGE = "cryocore"
KERNELS = Path(PACKAGE, "backend", "kernels")
KERNEL_SUFFIXES = (".cu", ".cuh", ".cpp", ".h")
"""Of files in ``KERNELS``: they count where a module names them (``"cuda/add.cu"``), or one of them includes them."""
SOURCES = (".j2", ".css", ".js")
"""Of files that count, byte by byte, as code of the package they lie in."""
TRIAL = "cuda/try_out.cu"
"""What tells whether a GPU can be used is no part of a result."""
_INCLUDE = re.compile(r'^#include "(.+)"$', re.MULTILINE)


def code_version(script: str | Path, *, root: str | Path) -> dict[str, str]:
    """Digests of the code that a script runs; see :meth:`Sources.version`."""
    return Sources(Path(root)).version(script)


class Sources:
    """The source files of a package as they are when they are first asked for.

    Parameters
    ----------
    root : directory that holds the package
    kept : file in which digests are kept from one process to the next; it is written where its folder is there
    """

    def __init__(self, root: Path, kept: Path | None = None) -> None:
        self._root, self._kept = root, kept
        self._read = {} if kept is None else _read_kept(kept)
        self._files: dict[str, tuple[Path, ...]] = {}

    def version(self, script: str | Path) -> dict[str, str]:
        """Digests of the code that a script runs, without importing any of it.

        A file counts if the script imports it, directly or through other files of the package; imports below
        ``if TYPE_CHECKING:`` do not count. With a module come the kernels that it names, with a subpackage its
        templates and styles (``SOURCES``), also those in folders below it.

        Parameters
        ----------
        script : the script, relative to ``root`` or absolute

        Returns
        -------
        dict of path relative to ``root`` -> first 8 hexadecimal digits of the SHA-256 of what the file means
        (:mod:`cryocore.workflow.meaning`), sorted by path; a script outside ``root`` goes by its name and that of its
        folder. Digests are the same in all versions of the package and of Python in which the code means the same.
        """
        todo, before = [self._root / script], len(self._read)
        found: dict[Path, str] = {}
        known: set[str] = set()
        while todo:
            file = todo.pop()
            if file in found:
                continue
            found[file], names = self._source(file)
            for name in {*names} - known:
                todo.extend(self._files_of(name))
            known.update(names)
        if self._kept is not None and len(self._read) > before:
            _keep(self._kept, self._read)
        return {_parts(file, self._root).as_posix(): found[file] for file in sorted(found)}

    def _source(self, file: Path) -> tuple[str, Sequence[str]]:
        status, module = file.stat(), _module_name(file, self._root)
        key = f"{file.absolute()} {module} {status.st_size} {status.st_mtime_ns}"
        if key not in self._read:
            self._read[key] = _read(file, key, module)
        return self._read[key]

    def _files_of(self, name: str) -> tuple[Path, ...]:
        if name not in self._files:
            self._files[name] = tuple(_files_of(name, self._root))
        return self._files[name]


def _read_kept(file: Path) -> dict[str, tuple[str, Sequence[str]]]:
    """What is kept by this very code; nothing where there is no such file."""
    try:
        values = json.loads(file.read_text())
        return dict(values["files"]) if values["code"] == _own_code() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _keep(file: Path, read: Mapping[str, tuple[str, Sequence[str]]]) -> None:
    """Write what is read; where it cannot be kept, it is read again."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps({"code": _own_code(), "files": read}))
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)


@cache
def _own_code() -> str:
    """Of what digests are made by."""
    return hashlib.sha256(b"".join(Path(f).read_bytes() for f in (__file__, meaning.__file__))).hexdigest()[:16]


@cache
def _read(file: Path, _changed: str, module: str) -> tuple[str, Sequence[str]]:
    """Digest of a file, and the names of the modules and kernels that it needs."""
    content, names = file.read_bytes(), set[str]()
    if file.suffix in KERNEL_SUFFIXES:
        names = {*_INCLUDE.findall(content.decode())}
        content = meaning.of_kernels(content.decode()).encode()
    elif file.suffix not in SOURCES:
        by_typer = module.split(".")[0] != PACKAGE or module.startswith(f"{PACKAGE}.commands")
        try:
            tree = meaning.parse(content, signatures=by_typer)
        except SyntaxError:  # the stage itself reports it, with the line
            pass
        else:
            content = meaning.of_python(tree).encode()
            names = {*_names(tree, module if file.name == "__init__.py" else module.rpartition(".")[0])}
    return hashlib.sha256(content).hexdigest()[:8], sorted(names)


def _names(tree: ast.AST, here: str) -> Iterator[str]:
    """Kernels, and absolute names that may be modules: ``from a import b`` gives ``a.b``, also a function of ``a``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here.split(".")[: len(here.split(".")) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(KERNEL_SUFFIXES):
            yield from () if node.value == TRIAL else (node.value,)


def _files_of(name: str, root: Path) -> Iterator[Path]:
    """A kernel's file, or the files that run when ``name`` is imported: every package on the way, then the module."""
    if name.endswith(KERNEL_SUFFIXES):
        yield from (path for path in [root / KERNELS / name] if path.is_file())
        return
    parts = name.split(".")
    for depth in range(1, len(parts) + 1) if parts[0] == PACKAGE else ():
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
