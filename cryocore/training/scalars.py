"""Curves of epochs while they come."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class Scalars:
    """Curves for TensorBoard, where its package is installed; the history in the results holds the same numbers."""

    def __init__(self, folder: Path, *, active: bool) -> None:
        self._writer: Any = None
        if not active:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            log.info("no TensorBoard (install the package tensorboard): no curves while it runs")
            return
        self._writer = SummaryWriter(str(folder))

    def add(self, epoch: Any) -> None:
        """Write the numbers of an epoch: a dataclass of them, ``epoch`` among them."""
        if self._writer is not None:
            for name, value in asdict(epoch).items():
                self._writer.add_scalar(name, value, epoch.epoch)
            self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
