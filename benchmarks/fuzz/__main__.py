"""Fuzz the readers: ``python -m benchmarks.fuzz --cases 1000000 --seed 0 [star stack ...]``.

Findings are written to ``--out``, one file for each kind; exit code 1 if there are any. ``--record`` keeps counts in
benchmarks/results/fuzz.json, for the table of docs/measurements/robustness.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.fuzz.readers import READERS
from benchmarks.fuzz.run import fuzz
from benchmarks.machine import made_by
from cryocore.tables.io import write_json

RESULTS = Path(__file__).resolve().parents[1] / "results" / "fuzz.json"


def main() -> None:
    """Run the cases, so many of each reader, and say what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(READERS)}; default: all")
    parser.add_argument("--cases", type=int, default=100_000, help="of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/fuzz"), help="folder of findings")
    parser.add_argument("--record", action="store_true", help="keep the counts for the documentation")
    options = parser.parse_args()
    found = 0
    record: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"readers": {}}
    for name in options.readers or READERS:
        tally = fuzz(name, options.seed, options.cases)
        kinds = {finding.place: finding for finding in reversed(tally.findings)}
        print(
            f"{name}: {tally.cases} cases, {tally.read} read, {len(tally.findings)} findings of {len(kinds)} kinds, "
            f"{tally.cases / tally.seconds:.0f} cases/s",
            flush=True,
        )
        for place, finding in kinds.items():
            file = options.out / f"{name}_{options.seed}_{finding.index}{READERS[name].suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(finding.content)
            print(f"    {place}\n    {file}", flush=True)
        found += len(kinds)
        if options.record:
            command = f"python -m benchmarks.fuzz {name} --cases {tally.cases} --seed {options.seed} --record"
            counts = {"cases": tally.cases, "read": tally.read, "kinds_of_findings": len(kinds)}
            record["readers"][name] = {**made_by(command), **counts}
            write_json(RESULTS, record)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
