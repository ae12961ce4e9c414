"""A and its adjoint, as autograd sees them: on the kernels, with exact adjoints and no second derivative."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cryocore.backend import get_backend  # noqa: E402
from cryocore.geometry.rotations import random_rotations  # noqa: E402
from cryocore.geometry.symmetry import point_group  # noqa: E402
from cryocore.imaging.blocked import pack  # noqa: E402
from cryocore.imaging.grid import FourierGrid  # noqa: E402
from cryocore.imaging.image_geometry import ImageGeometry  # noqa: E402
from cryocore.imaging.prepare import Prepared  # noqa: E402
from cryocore.imaging.slices import project  # noqa: E402
from cryocore.imaging.volumes import map_to_grid  # noqa: E402
from cryocore.reconstruct.iterative.operators import (  # noqa: E402
    Views,
    data_term,
    device_of,
    grids_of,
    predict,
    residual,
    samples_of,
    to_array,
    to_tensor,
)
from cryocore.reconstruct.iterative.symmetry import SymmetryOperators  # noqa: E402
from tests.phantoms import BACKENDS, Blobs, optics, used_samples  # noqa: E402

BOX, N = 16, 6


def views(backend_name: str = "cpu", last_shell: int | None = None) -> Views:
    rng, backend = np.random.default_rng(0), get_backend(backend_name)
    grid = FourierGrid.of(BOX, 2.0, 2.0, last_shell)
    frame = ImageGeometry.of(optics(BOX), grid)
    shape = (N, 2 * frame.limit + 1, frame.limit + 1)
    ctf = backend.to_device(rng.normal(size=shape).astype(np.float32))
    return Views(random_rotations(N, rng), np.arange(N, dtype=np.int32) % 2, ctf, frame, grid, backend)


def random_tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("box", [16, 15])
@pytest.mark.parametrize("last_shell", [None, 5])
def test_grids_are_those_of_the_other_transform(box: int, last_shell: int | None) -> None:
    grid, maps = FourierGrid.of(box, 2.0, 2.0, last_shell), random_tensor(2, box, box, box)
    expected = np.stack([map_to_grid(m, grid) for m in maps.numpy()])
    np.testing.assert_allclose(grids_of(maps, grid).numpy(), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("last_shell", [None, 5])
def test_adjoint(backend: str, last_shell: int | None) -> None:
    where = views(backend, last_shell)
    device = device_of(where.backend)
    maps = random_tensor(2, BOX, BOX, BOX).to(device).requires_grad_()
    seen = predict(grids_of(maps, where.grid), where)
    images = random_tensor(*seen.shape, seed=1, dtype=torch.complex64).to(device)
    forward = float(torch.sum((seen.detach() * images.conj()).real, dtype=torch.float64))
    (back,) = torch.autograd.grad(seen, maps, images)
    scale = float(seen.detach().abs().square().sum().sqrt() * images.abs().square().sum().sqrt())
    assert float((back * maps.detach()).sum(dtype=torch.float64)) == pytest.approx(forward, abs=1e-6 * scale)


def test_gradients_agree_with_differences() -> None:
    where = views(last_shell=4)

    def seen(maps: torch.Tensor) -> torch.Tensor:
        return torch.view_as_real(predict(grids_of(maps.float(), where.grid), where)).double()

    # A is linear, so that long steps lose nothing but rounding
    maps = random_tensor(2, BOX, BOX, BOX, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(seen, maps, eps=1.0, atol=1e-3, rtol=1e-3, fast_mode=True)


def test_a_second_derivative_is_refused() -> None:
    where = views()
    maps = random_tensor(2, BOX, BOX, BOX).requires_grad_()
    power = predict(grids_of(maps, where.grid), where).abs().square().sum()
    with pytest.raises(RuntimeError, match="can be differentiated once only: do not ask for create_graph"):
        torch.autograd.grad(power, maps, create_graph=True)


def test_arrays_and_tensors_share_their_memory() -> None:
    where, values = views(), np.zeros((3, 4), dtype=np.complex64)
    tensor = to_tensor(values)
    values[1, 2] = 5j
    assert tensor[1, 2] == 5j
    assert np.shares_memory(to_array(tensor, where.backend), values)


@pytest.mark.parametrize("backend", BACKENDS)
def test_residual(backend: str) -> None:
    where, rng = views(backend), np.random.default_rng(1)
    host = where.backend.to_host
    grids = where.backend.to_device(rng.normal(size=(2, *where.grid.shape)).astype(np.complex64))
    image = (rng.normal(size=where.ctf.shape) + 1j * rng.normal(size=where.ctf.shape)).astype(np.complex64)
    batch = Prepared(where.backend.to_device(image.copy()), where.ctf, where.frame)
    used = used_samples(where.frame.limit)
    precision = np.where(used, rng.uniform(0.5, 2.0, used.shape), 0.0).astype(np.float32)
    given = where.rotations, where.half
    expected, other = (
        image - host(project(grids, where.rotations, half, where.frame, where.backend) * where.ctf)
        for half in (where.half, 1 - where.half)
    )
    device = where.backend.to_device
    common = device(precision), device(samples_of(precision)), where.backend
    loss = residual(pack(grids, where.backend), batch, *given, *common)
    left = (precision * expected)[:, used]
    np.testing.assert_allclose(host(batch.image)[:, used], left, atol=1e-5 * np.abs(left).max())
    for found, r in zip(loss.T, (expected, other), strict=True):
        np.testing.assert_allclose(found, 2 * np.sum(precision * np.abs(r) ** 2, axis=(1, 2)), rtol=1e-5)


def test_one_node_of_many_images_has_the_gradient_of_its_sweep() -> None:
    grids = random_tensor(2, 3, 4, 5, dtype=torch.complex64).requires_grad_()
    slope = random_tensor(2, 3, 4, 5, seed=1, dtype=torch.complex64)
    values = data_term(grids, lambda g: (torch.tensor([1.0, 2.0], dtype=torch.float64), slope))
    (found,) = torch.autograd.grad(values @ torch.tensor([2.0, 3.0], dtype=torch.float64), grids)
    torch.testing.assert_close(found, torch.stack([2 * slope[0], 3 * slope[1]]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("box", "name"), [(24, "C1"), (24, "D7"), (23, "C4"), (20, "I2")])
def test_mean_over_symmetry_equivalents(box: int, name: str, backend: str) -> None:
    group = point_group(name)
    equivalents = SymmetryOperators(group, box, (box - 1) // 2, get_backend(backend))
    device = device_of(equivalents.backend)
    blobs = Blobs.random(9, spread=2.0, width=1.4)
    found = equivalents.mean(torch.from_numpy(blobs.map(box))[None].to(device))[0].cpu().numpy()
    expected = blobs.symmetrised(group).map(box)
    assert np.linalg.norm(found - expected) < 2e-3 * np.linalg.norm(expected)
    # its own adjoint, on maps of the band, away from the corners that leave the box
    both = (Blobs.random(9, 2.0, 1.4, seed).map(box)[None] for seed in (1, 2))
    first, second = (torch.from_numpy(values).to(device) for values in both)
    there, back = float((equivalents.mean(first) * second).sum()), float((first * equivalents.mean(second)).sum())
    assert there == pytest.approx(back, rel=1e-3)
    unknown = first.clone().requires_grad_()
    (slope,) = torch.autograd.grad((equivalents.mean(unknown) * second).sum(), unknown)
    torch.testing.assert_close(slope, equivalents.mean(second))
