"""What source text means, as letters that change only where what is computed may change."""

from __future__ import annotations

import ast
import re
from typing import Any

FOR_PEOPLE = {"description", "title", "help", "metavar", "keeps", "when"}
"""What ``Field`` of pydantic, ``Option`` and ``Argument`` of typer, and ``Rule`` of selections say to people."""
FOR_TYPES = ("__future__", "collections.abc", "numpy.typing", "typing")
"""Modules of names for annotations."""

_TEXT = r""""(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'"""
_COMMENT = re.compile(rf"({_TEXT})|//(?:\\\n|[^\n])*|/\*.*?\*/", re.DOTALL)
_OPERATOR = r"\+\+|--|->|<<|>>|&&|\|\||::|[-+*/%&|^<>=!]="
_TOKEN = re.compile(rf"^[ \t]*\#(?:\\\n|[^\n])*|{_TEXT}|\w+|{_OPERATOR}|\S", re.MULTILINE)


def of_kernels(text: str) -> str:
    """The tokens of a source in C++ without comments; a directive keeps its line."""
    tokens = _TOKEN.findall(_COMMENT.sub(lambda found: found[1] or " ", text))
    return " ".join("\n" + " ".join(t.split()) + "\n" if t.lstrip().startswith("#") else t for t in tokens)


def of_python(tree: ast.AST) -> str:
    """A tree by the types of its nodes and by those fields that are not empty: the others differ between versions."""
    fields = (
        f"{name}={_value(value)}"
        for name, value in ast.iter_fields(tree)
        if value not in (None, []) and name not in ("ctx", "kind", "type_comment")
    )
    return f"{type(tree).__name__}({','.join(fields)})"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_value, value))}]"
    return of_python(value) if isinstance(value, ast.AST) else ascii(value)


def parse(text: bytes, *, signatures: bool) -> ast.AST:
    """The tree of a module without what it computes nothing from.

    These are texts that stand alone, as docstrings do, what is said to people (``FOR_PEOPLE``), what is for type
    checking only, annotations but those of the fields of classes, which dataclasses and pydantic read, and
    ``__version__``.

    Parameters
    ----------
    signatures : whether annotations of functions count too, as typer reads them
    """
    tree: ast.AST = _Computing(signatures).visit(ast.parse(text))
    return tree


class _Computing(ast.NodeTransformer):
    def __init__(self, signatures: bool) -> None:
        self._signatures = signatures
        self._fields: set[ast.AnnAssign] = set()

    def visit_Expr(self, node: ast.Expr) -> Any:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> Any:
        self.generic_visit(node)
        return node.orelse if _last_name(node.test) == "TYPE_CHECKING" else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        return None if node.module in FOR_TYPES and not node.level else node

    def visit_Assign(self, node: ast.Assign) -> Any:
        return None if _last_name(node.targets[0]) == "__version__" else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> Any:
        if _last_name(node.func) in ("Field", "Option", "Argument", "Rule"):
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in FOR_PEOPLE]
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        self._fields |= {statement for statement in node.body if isinstance(statement, ast.AnnAssign)}
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        self.generic_visit(node)
        if node in self._fields:
            return node
        return ast.Assign([node.target], node.value) if node.value else None

    def visit_FunctionDef(self, node: Any) -> Any:
        node.returns = node.returns if self._signatures else None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arg(self, node: ast.arg) -> Any:
        node.annotation = node.annotation if self._signatures else None
        return self.generic_visit(node)


def _last_name(node: ast.expr) -> str:
    """``c`` of ``a.b.c`` or ``c``."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
