"""Particles as a torch data set."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader, Subset  # noqa: E402

from cryocore.formats.stacks import StackReader  # noqa: E402
from cryocore.ingest.dataset import CTF_COLUMNS, ParticleDataset  # noqa: E402
from cryocore.ingest.particles import read_particles  # noqa: E402
from tests.ingest.samples import BOX, N, noise_images, particle_columns, write_data_set, write_mrc  # noqa: E402


@pytest.fixture
def dataset(tmp_path: Path) -> ParticleDataset:
    star = write_data_set(tmp_path)
    return ParticleDataset(read_particles(star, root=None, pixel_size_angstrom=None, seed=0))


def test_items(dataset: ParticleDataset) -> None:
    assert len(dataset) == N
    item, particles = dataset[5], dataset.particles
    assert {k: (v.dtype, tuple(v.shape)) for k, v in item.items()} == {
        "image": (torch.float32, (BOX, BOX)),
        "rotation": (torch.float32, (3, 3)),
        "shift": (torch.float32, (2,)),
        "ctf": (torch.float32, (10,)),
        "particle_id": (torch.uint64, ()),
        "row": (torch.int64, ()),
    }
    np.testing.assert_array_equal(item["image"], noise_images()[5])
    np.testing.assert_allclose(item["rotation"], particles.rotations[5], atol=1e-6)
    np.testing.assert_allclose(item["shift"], particles.shifts_angstrom[5], rtol=1e-6)
    assert int(item["particle_id"]) == int(particles.ids[5])
    ctf = dict(zip(CTF_COLUMNS, item["ctf"].tolist(), strict=True))
    assert ctf["defocus_u_angstrom"] == pytest.approx(particle_columns()["rlnDefocusU"][5])
    assert (ctf["voltage_kv"], ctf["cs_mm"], ctf["pixel_size_angstrom"]) == pytest.approx((300.0, 2.7, 1.5))
    np.testing.assert_array_equal(dataset[-1]["image"], noise_images()[-1])
    with pytest.raises(IndexError, match="below 8"):
        dataset[8]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_subset_in_a_loader(dataset: ParticleDataset, workers: int) -> None:
    chosen = [6, 1, 2, 7, 0]
    loader = DataLoader(
        Subset(dataset, chosen), batch_size=3, num_workers=workers, multiprocessing_context="fork" if workers else None
    )
    found = list(loader)
    assert [b["row"].tolist() for b in found] == [[6, 1, 2], [7, 0]]
    np.testing.assert_array_equal(torch.cat([b["image"] for b in found]), noise_images()[chosen])
    ids = torch.cat([b["particle_id"] for b in found]).numpy()
    np.testing.assert_array_equal(ids, dataset.particles.ids[chosen])


def test_a_forked_worker_does_not_wait_for_its_parent(dataset: ParticleDataset) -> None:
    dataset[0]
    with dataset._reader._lock:  # as while a thread of the parent reads
        loader = DataLoader(dataset, batch_size=N, num_workers=1, multiprocessing_context="fork", timeout=20)
        np.testing.assert_array_equal(next(iter(loader))["image"], noise_images())


def test_a_spawned_worker_gets_no_open_file(dataset: ParticleDataset) -> None:
    dataset[0]
    sent = bytes(ForkingPickler.dumps(dataset))
    assert len(sent) < 20_000
    copy = ForkingPickler.loads(sent)
    assert copy._reader is None and dataset._reader is not None
    np.testing.assert_array_equal(copy[3]["image"], dataset[3]["image"])


@pytest.mark.gpu
def test_pinned_batches_reach_the_gpu(dataset: ParticleDataset) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    batch = next(iter(DataLoader(dataset, batch_size=N, pin_memory=True)))
    assert all(tensor.is_pinned() for tensor in batch.values())
    there = {name: tensor.to("cuda", non_blocking=True) for name, tensor in batch.items()}
    torch.cuda.synchronize()
    np.testing.assert_array_equal(there["image"].cpu(), noise_images())
    assert torch.equal(there["particle_id"].cpu(), batch["particle_id"])


def test_a_batch_is_one_read(dataset: ParticleDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[int]] = []
    read = StackReader.read

    def counting(self: StackReader, rows: np.ndarray) -> np.ndarray:
        calls.append(rows.tolist())
        return read(self, rows)

    monkeypatch.setattr(StackReader, "read", counting)
    next(iter(DataLoader(Subset(dataset, [4, 2, 3]), batch_size=3)))
    assert calls == [[4, 2, 3]]


def test_items_of_several_boxes(tmp_path: Path) -> None:
    from tests.ingest.samples import optics_columns

    write_mrc(tmp_path / "b.mrcs", noise_images(8, 20, seed=1))
    columns = particle_columns()
    columns["rlnImageName"] = [f"{i + 1}@{'ab'[i // 2 % 2]}.mrcs" for i in range(8)]
    columns["rlnOpticsGroup"] = [1 + i // 2 % 2 for i in range(8)]
    star = write_data_set(tmp_path, particles=columns, optics=optics_columns(2) | {"rlnImageSize": [BOX, 20]})
    dataset = ParticleDataset(read_particles(star, root=None, pixel_size_angstrom=None, seed=0))
    items = dataset.__getitems__([2, 0, 3])
    assert [i["row"].item() for i in items] == [2, 0, 3]
    np.testing.assert_array_equal(items[2]["image"], noise_images(8, 20, seed=1)[3])
    with pytest.raises(ValueError, match="share their box"):
        dataset.batch([0, 2])
