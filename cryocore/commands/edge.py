"""The edge of every program: options from the function's signature, messages to the terminal and to the job's log."""

from __future__ import annotations

import errno
import faulthandler
import logging
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import typer
from tqdm.contrib.logging import logging_redirect_tqdm

from cryocore.errors import FULL, InputError

LOG_VARIABLE = "CRYOCORE_LOG"
"""Environment variable that names the job's log file."""

LONGEST_WORD = 1000
"""Letters of a word that an error shows in full."""

OUT_OF_REACH = FULL | {
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
}
"""Errors of the file system that a user can mend."""

GPU_FIX = (
    "Lower reconstruct.padding, set reconstruct.max_resolution_angstrom, end what else runs on it, or set backend: cpu"
)

log = logging.getLogger(__name__)


def run(main: Callable[..., Any]) -> NoReturn:
    """Run ``main`` as a command-line program and leave with its exit code; see :func:`guarded`."""
    guarded(Path(sys.argv[0]).stem, lambda: typer.run(main))


def guarded(name: str, program: Callable[[], Any]) -> NoReturn:
    """Run a command-line program under a name and leave with its exit code.

    Messages go to the terminal as ``name: message`` and, with time and origin, to the file that the environment
    variable ``CRYOCORE_LOG`` names. Exit codes: 0 done, 1 a fault of the program (traceback), 2 a fault of the
    input (one paragraph).
    """
    terminal = _set_up_logging(name)
    try:
        with logging_redirect_tqdm():
            program()
    except InputError as error:
        terminal.setLevel(logging.CRITICAL)
        log.error("%s", error)
        print(_paragraph(f"{name}: error: {error}"), file=sys.stderr, flush=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in OUT_OF_REACH:
            _stop()
        terminal.setLevel(logging.CRITICAL)
        place = "" if error.filename is None else f"{error.filename}: "
        fix = "Make room, or name another place" if error.errno in FULL else "Name another place"
        problem = f"{place}{(error.strerror or 'not accessible').lower()}. {fix}."
        log.error("%s", problem, exc_info=True)
        print(_paragraph(f"{name}: error: {problem}"), file=sys.stderr, flush=True)
        sys.exit(2)
    except Exception as error:
        if type(error).__name__ != "OutOfMemoryError":  # CuPy's or torch's, neither of which is known here
            _stop()
        terminal.setLevel(logging.CRITICAL)
        problem = f"the GPU is full ({str(error).splitlines()[0].rstrip('.')}). {GPU_FIX}."
        log.error("%s", problem, exc_info=True)
        print(_paragraph(f"{name}: error: {problem}"), file=sys.stderr, flush=True)
        sys.exit(2)
    sys.exit(0)


def _stop() -> NoReturn:
    """End on the exception that is being handled, a fault of the program."""
    log.critical("stopped by a fault of the program", exc_info=True)
    sys.exit(1)


def _set_up_logging(name: str) -> logging.Handler:
    """Send the package's messages and all warnings to the terminal and to the job's log; the former is returned."""
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter(f"{name}: %(message)s"))
    rank = os.environ.get("RANK", "0")  # of the processes that torchrun starts for one job, the first one speaks
    least = logging.INFO if rank == "0" else logging.WARNING
    terminal.setLevel(least)
    terminal.addFilter(lambda record: record.levelno >= least)  # tqdm's stand-in copies filters, not levels
    handlers: list[logging.Handler] = [terminal]
    if path := os.environ.get(LOG_VARIABLE):
        path = path if rank == "0" else f"{path}.rank_{rank}"
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        stream = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - open as long as the process lives
        faulthandler.enable(stream)
        handlers.append(logging.StreamHandler(stream))
        handlers[-1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    logging.getLogger("cryocore").setLevel(logging.DEBUG)
    logging.captureWarnings(True)
    return terminal


def _paragraph(text: str) -> str:
    """The text between empty lines, wrapped; paths stay whole, so that they can be copied, and command no terminal."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    text = " ".join(w if len(w) <= LONGEST_WORD else f"{w[:200]}...{w[-200:]}" for w in text.split(" "))
    return f"\n{textwrap.fill(text, width=100, break_long_words=False, break_on_hyphens=False)}\n"
