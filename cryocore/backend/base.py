"""What a backend offers: arrays, Fourier transforms, and kernels by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

KERNEL_DIRECTORY = Path(__file__).parent / "kernels"
KERNELS: dict[str, str] = {
    "prepare_images": "pppppiiiifpp",
    "insert_slices": "ppppppiiippii",
    "project_slices": "pppiiip",
    "pack_bricks": "piiip",
    "symmetrise_sums": "pppiippii",
    "score_slices": "ppppppppipifiiip",
    "score_poses": "ppppppppipifppifiiiip",
}
"""Argument kinds of every kernel: p pointer (or None), i int32, f float32."""


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

    def launch(self, kernel: str, args: tuple[Any, ...], *, items: int) -> None:
        """Run a kernel over ``items`` independent pieces of work."""

    def launch_planes(self, kernel: str, args: tuple[Any, ...], *, items: int, planes: int, plane_bytes: int) -> None:
        """Run a kernel whose last two arguments are the range of planes [z0, z1) that it may write."""

    def rfft2(self, images: Any) -> Any:
        """Unnormalised transforms ``(n, d, d//2+1)`` complex64 of images ``(n, d, d)``."""

    def to_device(self, array: Any) -> Any:
        """A copy (or, on the CPU, the array itself) that kernels can read."""

    def to_host(self, array: Any) -> Any:
        """The array as NumPy."""
