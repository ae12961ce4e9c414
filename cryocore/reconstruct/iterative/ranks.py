"""Processes that share the particles: each takes a part of them, and sums go over all.

``torchrun`` starts them and tells each its rank; without it there is one. The reductions are NCCL's on GPUs, gloo's
otherwise.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from cryocore.cores import limit_cores
from cryocore.errors import InputError
from cryocore.hashing import hashed_uniform


@dataclass(frozen=True)
class Ranks:
    """This process, ``rank`` of ``world``, and the threads that are its own."""

    rank: int = 0
    world: int = 1
    threads: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes what there is one of."""
        return self.rank == 0

    def rows(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The rows of this process: in the order of a hash of the ids each one takes the next range."""
        order = np.argsort(hashed_uniform(ids, 1, seed=0, stream=17)[:, 0], kind="stable")
        return np.sort(np.array_split(order, self.world)[self.rank])

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes, in its place."""
        if self.world > 1:
            dist.all_reduce(torch.view_as_real(tensor) if tensor.is_complex() else tensor)
        return tensor

    def add_arrays(self, *arrays: Any) -> None:
        """The sums of NumPy or CuPy arrays over all processes, in their places."""
        for array in arrays:
            self.add(torch.utils.dlpack.from_dlpack(array))

    def require_a_gpu_each(self, gpu: str | None) -> None:
        """Refuse processes that share a GPU, between which NCCL does not add up.

        ``gpu`` : what tells that of this process from all others of its machine; None: it works on the CPU
        """
        if gpu is None or self.world == 1:
            return
        name = hashlib.sha256(f"{socket.gethostname()} {gpu}".encode()).digest()
        names = np.zeros(self.world, dtype=np.int64)
        names[self.rank] = int.from_bytes(name[:7])
        self.add_arrays(names)
        n_gpus = len(np.unique(names))
        if n_gpus < self.world:
            problem = f"{self.world} processes have {n_gpus} GPU{'s' if n_gpus > 1 else ''} between them"
            fix = f"Set it to {n_gpus}, ask for more GPUs, or set backend: cpu"
            raise InputError(problem, setting="reconstruct.iterative.processes", fix=fix)

    def meet(self) -> None:
        """Wait for all others."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def started_ranks(threads: int) -> Iterator[Ranks]:
    """The processes that ``torchrun`` started, which share the threads; one, where it did not."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    each = limit_cores(max(1, threads // world))
    torch.set_num_threads(each)
    if world == 1:
        yield Ranks(threads=each)
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks(dist.get_rank(), world, each)
    finally:
        dist.destroy_process_group()
