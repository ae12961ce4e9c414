"""What is to be seen of an iteration while it runs: curves, pictures and histograms."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

log = logging.getLogger(__name__)


class Board:
    """Files for TensorBoard, where its package is installed; the history in the results holds the curves' numbers."""

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

    def shows(self, number: int, *, last: bool) -> bool:
        """Whether pictures of this epoch, from 0, are wanted: the first, every one whose number is a power of two, and
        the last, so that they grow with the logarithm of the epochs."""
        return self._writer is not None and (last or number & (number - 1) == 0)

    def add(self, epoch: Any) -> None:
        """Write the numbers of an epoch: a dataclass of them, ``epoch`` among them."""
        if self._writer is not None:
            for name, value in asdict(epoch).items():
                self._writer.add_scalar(name, value, epoch.epoch)
            self._writer.flush()

    def add_pictures(
        self, number: int, pictures: Mapping[str, Any], histograms: Mapping[str, Any] | None = None
    ) -> None:
        """Write what is to be seen of the epoch ``number``, by name: figures of matplotlib or grey pictures ``(h, w)``
        from 0 to 1, and arrays of any shape as histograms."""
        if self._writer is not None:
            for name, picture in pictures.items():
                if isinstance(picture, np.ndarray):
                    self._writer.add_image(name, picture, number, dataformats="HW")
                else:
                    self._writer.add_figure(name, picture, number)
            for name, values in (histograms or {}).items():
                self._writer.add_histogram(name, values, number)
            self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
