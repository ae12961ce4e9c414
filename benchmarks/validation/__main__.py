"""Measure, keep the numbers, write the page: ``python -m benchmarks.validation [section ...]``.

Without names all sections are measured; with names only these, and the others' numbers stay as they are.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_name, made_by, processor
from benchmarks.validation import exact, planted, real_images, relion
from benchmarks.validation.common import ROOT, Skipped
from benchmarks.validation.page import page
from cryocore import __version__
from cryocore.cores import available_cores

SECTIONS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "relion": relion.measure,
    "planted": planted.measure,
    "real_images": real_images.measure,
    "exact": exact.measure,
}


def main(names: list[str]) -> None:
    """Measure sections one after the other, each in a temporary directory of its own."""
    unknown = set(names) - set(SECTIONS)
    if unknown:
        sys.exit(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    cores = available_cores()
    store = ROOT / "benchmarks" / "results" / "validation" / f"{machine_name()}.json"
    record = json.loads(store.read_text()) if store.exists() else {"sections": {}}
    record |= {"processor": processor(), "cores": cores, "cryocore": __version__, "python": platform.python_version()}
    store.parent.mkdir(parents=True, exist_ok=True)
    for name in names or SECTIONS:
        print(f"validation: {name}", file=sys.stderr, flush=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="cryocore-validation-") as folder:
            try:
                values = SECTIONS[name](Path(folder))
            except Skipped as reason:
                values = {"skipped": str(reason)}
        made = made_by(f"python -m benchmarks.validation {name}")
        record["sections"][name] = {**values, **made, "seconds": time.monotonic() - began}
        store.write_text(json.dumps(record, indent=1) + "\n")
    (ROOT / "docs" / "measurements" / "accuracy.md").write_text(page(record))


if __name__ == "__main__":
    main(sys.argv[1:])
