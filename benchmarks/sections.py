"""Sections of a result file, measured one by one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import made_by
from benchmarks.validation.common import Skipped
from cryocore.tables.io import write_json


def measure(names: Sequence[str], sections: Mapping[str, Callable[[], dict[str, Any]]], file: Path) -> None:
    """Measure some sections, or all, each kept once it is measured; ``file`` has the name of its module."""
    unknown = sorted(set(names) - set(sections))
    if unknown:
        sys.exit(f"no such section: {', '.join(unknown)}; there are {', '.join(sections)}")
    record = json.loads(file.read_text()) if file.exists() else {}
    for name in names or sections:
        print(name, file=sys.stderr, flush=True)
        try:
            values = sections[name]()
        except Skipped as reason:
            print(f"{name}: skipped, {reason}", file=sys.stderr)
            continue
        record[name] = {**made_by(f"python -m benchmarks.{file.stem} {name}"), "values": values}
        write_json(file, record)
