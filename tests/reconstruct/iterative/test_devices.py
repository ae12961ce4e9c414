"""Tensors of the GPU meet none of the host: torch's device ``meta``, which keeps no values, stands for the GPU.

What reads values is left out: steps of LBFGS, and maps on their way to the host.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cryocore.config.solve import Iterative  # noqa: E402
from cryocore.geometry.symmetry import point_group  # noqa: E402
from cryocore.imaging.grid import FourierGrid  # noqa: E402
from cryocore.reconstruct.iterative import symmetry  # noqa: E402
from cryocore.reconstruct.iterative.model import Model  # noqa: E402
from cryocore.reconstruct.iterative.operators import data_term, grids_of  # noqa: E402
from cryocore.reconstruct.iterative.optimise import State  # noqa: E402
from cryocore.reconstruct.iterative.symmetry import SymmetryOperators  # noqa: E402

BOX = 12
GPU = torch.device("meta")
GRID = FourierGrid.of(BOX, 2.0, 2.0)
XP = SimpleNamespace(
    empty=lambda shape, dtype: torch.empty(shape, dtype=torch.complex64, device=GPU),
    from_dlpack=lambda tensor: tensor,
)
BACKEND: Any = SimpleNamespace(
    xp=XP, to_device=lambda array: torch.from_numpy(array).to(GPU), launch=lambda *_, **__: None
)


def model(name: str) -> Model:
    """Half maps on the GPU."""
    last = GRID.last_shell
    density, shells = np.ones((2, last + 2, 2 * last + 3, 2 * last + 3), dtype=np.float32), np.ones(last + 1)
    equivalents = SymmetryOperators(point_group(name), BOX, last, BACKEND)
    return Model.of(density, shells, shells, 0.1, GRID, equivalents).to(GPU)


def maps() -> torch.Tensor:
    """Half maps."""
    return torch.empty(2, BOX, BOX, BOX, device=GPU)


def on_host(value: Any) -> Any:
    """As a checkpoint that is read."""
    if isinstance(value, dict):
        return {k: on_host(v) for k, v in value.items()}
    if isinstance(value, list):
        return [on_host(v) for v in value]
    return torch.zeros(value.shape, dtype=value.dtype) if isinstance(value, torch.Tensor) else value


def test_a_mixture_is_noticed() -> None:
    here = torch.zeros(2, BOX, BOX, BOX)
    for mixed in (
        lambda: maps() * here,
        lambda: torch.where(maps() > 0, maps(), here),
        lambda: torch.stack([maps(), here]),
    ):
        with pytest.raises(RuntimeError, match=r"device"):
            mixed()


@pytest.mark.parametrize("name", ["C1", "D3"])
def test_maps_their_grids_and_gradients(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(symmetry, "to_tensor", lambda array: array)
    of = model(name)
    unknown = of.unknown(maps()).requires_grad_()
    found = of.maps(unknown)
    values = data_term(grids_of(found, GRID), lambda g: (torch.zeros(2, device=GPU), torch.empty_like(g)))
    objective = values + of.penalty(found)
    (gradient,) = torch.autograd.grad(objective.sum(), unknown)
    assert found.device == gradient.device == GPU


@pytest.mark.parametrize("optimiser", ["LBFGS", "SGD", "Adam"])
def test_a_state_goes_on_where_it_was(optimiser: str) -> None:
    of, settings = model("C1"), Iterative(optimiser=optimiser, momentum=0.5)
    first, again = (State.start(of, maps(), 10, settings) for _ in range(2))
    for unknown, engine in zip(first.unknown, first.optimisers, strict=True):
        unknown.grad = torch.empty_like(unknown)
        if optimiser != "LBFGS":
            engine.step()
    again.restore(on_host(first.dump()))
    kept = [v for engine in again.optimisers for state in engine.state.values() for v in state.values()]
    tensors = [*again.unknown, again.best, *(v for v in kept if isinstance(v, torch.Tensor) and v.ndim)]
    assert len(tensors) == 3 + {"LBFGS": 0, "SGD": 2, "Adam": 4}[optimiser]
    assert {t.device for t in tensors} == {GPU}
    assert of.maps(again.best).device == of.maps(again.both).device == GPU
