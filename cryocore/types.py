"""Arrays by what they hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Complex64 = NDArray[np.complex64]
Ints = NDArray[np.int64]
Rows = NDArray[np.intp]
Bools = NDArray[np.bool_]
Ids = NDArray[np.uint64]
