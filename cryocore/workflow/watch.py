"""Beside Snakemake, while it submits jobs: what SLURM says of them is shown as soon as it is known.

Of jobs that share a submission, Snakemake's own message has neither SLURM's words nor what was asked for; and what
SLURM refuses it submits again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryocore.errors import FULL, InputError
from cryocore.workflow.notices import FILE, Notice, read_notices
from cryocore.workflow.sbatch import FOLDER, NOTICES
from cryocore.workflow.scheduler import USUAL, not_started, why_ended

FIRST_LOOK_S, LOOKS_S = 10.0, 60.0
"""After how long, and how often, the queue is asked why jobs wait."""
LONG_S = 900.0
"""A job that waits longer than this is mentioned, whatever the reason."""
LOG_BYTES = 1 << 16
OF_SLURM = ", as slurm-logdir in config.yaml of the profile"


class SchedulerWatch(logging.Handler):
    """A handler of Snakemake's messages that follows each failure with the words of the scheduler.

    Parameters
    ----------
    logs : folder of the run's logs
    logger : Snakemake's; what is told goes there
    rules : the rules of the workflow by name; a refused one is not tried again
    """

    def __init__(self, logs: Path, logger: logging.Logger, rules: dict[str, Any]) -> None:
        super().__init__(logging.ERROR)
        self.file = logs.absolute() / FILE
        self.logger = logger
        self.rules = rules
        self.old = self.told = len(read_notices(self.file))
        self.told_back = 0
        self.reasons: dict[str, str] = {}

    def start(self) -> None:
        """Stand in for ``sbatch`` and ``squeue``, listen to Snakemake, and ask now and then why jobs wait."""
        os.environ.update({NOTICES: str(self.file), "PATH": os.pathsep.join([str(FOLDER), os.environ.get("PATH", "")])})
        self.logger.addHandler(self)
        threading.Thread(target=self._look_at_queue, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Tell why the job of an error of Snakemake was refused or ended, if it was the scheduler's doing."""
        event = str(getattr(record, "event", "") or "")
        if event not in ("job_error", "group_error") or getattr(record, "indent", False):
            return
        number = getattr(record, "external_jobid", None) or getattr(record, "aux", {}).get("external_jobid")
        notices = read_notices(self.file)
        if number is None:
            self._tell_refusals(notices)
        elif said := why_ended(str(number)):
            given = next((n for n in reversed(notices) if n.slurm_job == str(number)), Notice("ended", ()))
            notice = Notice("ended", given.jobs, given.request, said, str(number))
            with contextlib.suppress(OSError):  # a full disk is no reason not to tell
                notice.write(self.file)
            self.logger.error(notice.text)
        else:
            try:
                require_writable(self.file.parent, "logs")
            except InputError as error:
                self.logger.error(str(error))

    def _tell_refusals(self, notices: list[Notice]) -> None:
        new, self.told = notices[self.told :], len(notices)
        for notice in (n for n in new if n.kind == "refused"):
            for job in notice.jobs:
                if rule := self.rules.get(job.partition(":")[0]):
                    rule.restart_times = 0
            self.logger.error(notice.text)

    def _tell_put_back(self, notices: list[Notice]) -> None:
        back = [notice for notice in notices if notice.kind == "put back"]
        for notice in back[self.told_back :]:
            self.logger.warning(notice.text)
        self.told_back = len(back)

    def _look_at_queue(self) -> None:
        started: set[str] = set()
        after_s = FIRST_LOOK_S
        while True:
            time.sleep(after_s)
            notices = read_notices(self.file)[self.old :]
            self._tell_put_back(notices)
            ended = {n.slurm_job for n in notices if n.kind == "ended"}
            submitted = [n for n in notices if n.kind == "submitted"]
            waits = [n for n in submitted if n.slurm_job not in started | ended]
            reasons = not_started(n.slurm_job for n in waits) if waits else {}
            started |= {n.slurm_job for n in waits} - set(reasons)
            for notice in to_tell(waits, reasons, self.reasons):
                self.logger.warning(notice.text)
            after_s = LOOKS_S if reasons else FIRST_LOOK_S


def require_writable(folder: Path, what: str = "SLURM's logs", other: str = OF_SLURM) -> None:
    """Refuse a folder for logs in which no file can be written: jobs would end, or Snakemake wait, without a word.

    ``other`` says how to name another folder.

    Raises
    ------
    InputError  with the fault of the file system.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(LOG_BYTES))
    except OSError as error:
        fix = "Make room" if error.errno in FULL else f"Name one that can be written{other}"
        raise InputError(f"{what} cannot be written here: {error.strerror}", file=folder, fix=fix) from None


def to_tell(waits: Iterable[Notice], reasons: dict[str, str], told: dict[str, str]) -> list[Notice]:
    """Notices of jobs that wait for something that does not pass by itself, or for long; each reason once.

    ``told`` is what was told of each job before, and is changed.
    """
    found = []
    for given in waits:
        reason = reasons.get(given.slurm_job, "")
        long = Notice("waiting", ()).time - given.time > LONG_S
        if reason and (reason not in USUAL or long) and told.get(given.slurm_job) != reason:
            told[given.slurm_job] = reason
            found.append(Notice("waiting", given.jobs, given.request, reason, given.slurm_job))
    return found
