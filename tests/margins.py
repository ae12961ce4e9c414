"""How near to their bounds assertions pass: a pytest plugin, for ``make margins``.

Every comparison of an assertion that passed is evaluated again where it stands, and what it saw goes to a file, one
JSON object a line. :func:`report` reads the files of several configurations: a bound that is nearly used up, or a value
that moves between configurations by much of what is left to its bound, is a test that fails on some other machine.

An assertion is looked at while the test runs, so this works for expressions without side effects.
"""

from __future__ import annotations

import ast
import json
import sys
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import pytest

APPROXIMATION = type(pytest.approx(0.0)).__mro__[1]
ROOT = Path(__file__).resolve().parents[1]
USED = 0.8
"""Share of a bound that is reported."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--margins", metavar="FILE", help="append what comparisons see, a JSON object a line")


def pytest_assertion_pass(item: pytest.Item, lineno: int, orig: str, expl: str) -> None:
    out, frame = item.config.getoption("--margins"), _frame_of(item, lineno)
    if out is None or frame is None:
        return
    try:
        tree = ast.parse(orig.strip(), mode="eval")
    except SyntaxError:
        return
    place = f"{Path(frame.f_code.co_filename).resolve().relative_to(ROOT)}:{lineno}"
    rows = []
    for node in (n for n in ast.walk(tree) if isinstance(n, ast.Compare)):
        for left, op, correct in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            try:
                seen = _seen(_value(left, frame), op, _value(correct, frame))
            except Exception:  # noqa: S112 - variables of comprehensions, arrays of text: not a bound
                continue
            if seen is not None:
                rows.append({"place": place, "test": item.nodeid, "text": orig.strip(), **seen._asdict()})
    with Path(out).open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


class Seen(NamedTuple):
    """What a comparison saw: a value, its bound, and how much of the bound was used, 0 to 1."""

    value: float
    bound: float
    used: float


def used(value: float, bound: float, *, is_upper: bool) -> float:
    """Share of a bound that a value uses up: of the bound itself or, between a half and one, of what is left to one.

    >>> round(used(0.09, 0.1, is_upper=True), 3), round(used(0.96, 0.95, is_upper=False), 3)
    (0.9, 0.8)
    """
    low, high = (value, bound) if is_upper else (bound, value)
    if min(low, high) > 0.5 and max(low, high) <= 1.0:
        low, high = 1.0 - high, 1.0 - low
    if low < 0.0 < high or high == 0.0:
        return 0.0
    return low / high if low >= 0.0 else high / low


def _seen(left: Any, op: ast.cmpop, correct: Any) -> Seen | None:
    if isinstance(op, ast.Eq) and isinstance(correct, APPROXIMATION):
        pairs = [(abs(a - e), e.tolerance) for a, e in _approximations(left, correct)]
        rows = [Seen(float(d), float(t), float(d / t)) for d, t in pairs if t > 0 and np.isfinite(t)]
        return max(rows, key=lambda r: r.used, default=None)
    if not isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
        return None
    a, b = np.broadcast_arrays(np.asarray(left), np.asarray(correct))
    if a.dtype.kind not in "fiu" or b.dtype.kind not in "fiu" or "f" not in (a.dtype.kind, b.dtype.kind):
        return None
    is_upper = isinstance(op, ast.Lt | ast.LtE)
    rows = [
        Seen(float(x), float(y), used(float(x), float(y), is_upper=is_upper))
        for x, y in zip(a.flat, b.flat, strict=True)
    ]
    return max(rows, key=lambda r: r.used, default=None)


def _approximations(actual: Any, expected: Any) -> list[tuple[Any, Any]]:
    if hasattr(expected, "tolerance"):
        return [(actual, expected)]
    return [(a, expected._approx_scalar(e)) for a, e in expected._yield_comparisons(actual)]


def _value(node: ast.expr, frame: FrameType) -> Any:
    code = compile(ast.Expression(node), "<margin>", "eval")
    return eval(code, frame.f_globals, frame.f_locals)  # noqa: S307 - the test's own expression


def _frame_of(item: pytest.Item, lineno: int) -> FrameType | None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_lineno >= lineno and Path(frame.f_code.co_filename).is_relative_to(ROOT / "tests"):
            return frame if frame.f_code.co_filename != __file__ else None
        frame = frame.f_back
    return None


def report(files: list[Path]) -> str:
    """The comparisons whose bounds are nearly used up in some file, or moved by half of what is left between files."""
    found: dict[tuple[str, str, int], list[list[Seen]]] = defaultdict(lambda: [[] for _ in files])
    for i, file in enumerate(files):
        count: dict[tuple[str, str], int] = defaultdict(int)
        for line in file.read_text().splitlines():
            row = json.loads(line)
            name = row["test"], f"{row['place']} {row['text']}"
            found[(*name, count[name])][i].append(Seen(row["value"], row["bound"], row["used"]))
            count[name] += 1
    lines = {}
    for (_, text, _), each in found.items():
        seen = [s for one in each for s in one]
        worst = max(seen, key=lambda s: s.used)
        moved = max(s.value for s in seen) - min(s.value for s in seen)
        left = min(abs(s.bound - s.value) for s in seen)
        if worst.used > USED or moved > 0.5 * left:
            line = f"{worst.used:.3f} of {worst.bound:.4g} ({worst.value:.4g}), moved {moved:.2g}, left {left:.2g}"
            lines[text] = max(lines.get(text, ""), line)
    return "\n".join(f"{text}\n    {line}" for text, line in sorted(lines.items()))


if __name__ == "__main__":
    print(report([Path(name) for name in sys.argv[1:]]))
