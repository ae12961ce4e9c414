"""``cryocore status``: where a run is, and what to do if it stands still."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer


def status(
    run: Annotated[str, typer.Argument(help="Name of the run, or results/RUN.", metavar="RUN")],
    as_json: AsJson = False,
) -> None:
    """Say where a run is: which jobs are done, at work or failed, why, and in which log.

    It reads the logs alone, so it can be asked at any time, from any machine that sees them. The times of shards are
    added up.

    **Examples**

    `cryocore status demo`

    `watch cryocore status demo`
    """
    from cryocore.errors import InputError
    from cryocore.workflow.status import run_status

    path = Path(run)
    if not path.name:
        raise InputError("no run is named", fix="Give the name of a run, the key `run` of its configuration")
    base = path.resolve().parent.parent if path.resolve().parent.name == "results" else Path()
    found = run_status(base / "logs" / path.name)
    answer(found.text, [job.as_dict() for job in found.jobs], as_json)
