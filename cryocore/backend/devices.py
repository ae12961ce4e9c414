"""Which GPU a process takes: the one it was given, or one that no other process of ours has taken."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

_held: list[int] = []
"""Descriptors of the locks of this process; the system lets go of them when it ends, however it ends."""


def choose_device(names: list[str], environment: Mapping[str, str] = os.environ, locks: Path | None = None) -> int:
    """The number of the GPU to use, among those that this process sees.

    ``torchrun`` says so by LOCAL_RANK. Otherwise processes on one machine take different GPUs as long as there are
    any: the first one that is not locked by another; once all are, the one of the lowest number is shared.

    Parameters
    ----------
    names : what tells each GPU from all others of the machine, as its PCI bus address
    environment : the variables of the process
    locks : folder of the lock files; default: one of this user among the temporary files
    """
    if not names:
        raise ValueError("there is no GPU to choose from")
    if rank := environment.get("LOCAL_RANK"):
        return int(rank) % len(names)
    if len(names) == 1:
        return 0
    folder = locks or Path(tempfile.gettempdir()) / f"cryocore-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():  # somebody else has put it there
        return 0
    for device, name in enumerate(names):
        descriptor = os.open(folder / f"{name.replace(':', '-')}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
        else:
            _held.append(descriptor)
            return device
    return 0
