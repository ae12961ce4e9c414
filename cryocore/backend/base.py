"""What a backend offers: arrays, Fourier transforms, and kernels by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

KERNEL_DIRECTORY = Path(__file__).parent / "kernels"
KERNELS: dict[str, str] = {
    "prepare_images": "pppppiiiifpp",
    "prepare_packed": "ppppppiiifpp",
    "insert_slices": "ppppppiiipp",
    "project_slices": "pppiiip",
    "residual_slices": "ppppppipiiipp",
    "pack_bricks": "piiip",
    "symmetrise_sums": "pppiipp",
    "average_mates": "pppiifip",
    "score_slices": "ppppppppipifiiip",
    "predict_slices": "ppppppppipifiiip",
    "score_poses": "ppppppppipifppifiiiip",
    "score_shifts": "ppppppppipifpiiiip",
}
"""Argument kinds of every kernel: p pointer (or None), i int32, f float32."""

HOST_KERNELS: dict[str, str] = {
    "sort_samples": "ppppppiiiiipip",
    "add_samples": "ppiipiiipp",
}
"""Those that the CPU has in addition."""


def kernel_source() -> str:
    """All kernels as one translation unit."""
    names = ["common.cuh", *sorted(p.name for p in KERNEL_DIRECTORY.glob("*.cu"))]
    return "\n".join((KERNEL_DIRECTORY / n).read_text() for n in names)


class Backend(Protocol):
    """Arrays of one device and the kernels that work on them."""

    @property
    def name(self) -> str:
        """``cpu`` or ``cuda``."""

    @property
    def xp(self) -> Any:
        """The array module: numpy, or cupy."""

    @property
    def cache_bytes(self) -> int:
        """What passes from one step to the next should be no larger."""

    def scratch(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array of any content, which the next call with the same name may use again."""

    def launch(self, kernel: str, args: tuple[Any, ...], *, items: int) -> None:
        """Run a kernel over ``items`` independent pieces of work."""

    def rfft2(self, images: Any) -> Any:
        """Unnormalised transforms ``(n, d, d//2+1)`` complex64 of images ``(n, d, d)``."""

    def to_device(self, array: Any) -> Any:
        """A copy (or, on the CPU, the array itself) that kernels can read."""

    def to_host(self, array: Any) -> Any:
        """The array as NumPy."""
