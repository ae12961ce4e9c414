"""Residual images are what the sums of the log are made of, in real space."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.ndimage

from cryocore.backend import get_backend
from cryocore.classify.export import export_residuals, read_stack
from cryocore.classify.rounds import ScoredRound
from cryocore.classify.subset import chosen_rows
from cryocore.config.plant import PlantedErrors
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.score import Score
from cryocore.errors import InputError
from cryocore.formats.stacks import StackReader
from cryocore.imaging.prepare import prepare
from cryocore.log import error_rate
from cryocore.maps.mrc import read_map
from cryocore.reconstruct import reconstruct
from cryocore.score.chunks import chunk_sums
from cryocore.score.images import image_pairs, thickness
from cryocore.score.sums import Batch
from tests.score.simulated import logged, simulated


def pictures(scored: ScoredRound, rows: np.ndarray, weights: np.ndarray, **options: object) -> tuple[np.ndarray, ...]:
    """Images and predictions of rows, in their order."""
    part = scored.data.take(rows)
    given = part, np.arange(len(rows)), weights[rows], scored.scorer.comparison
    found = [None] * len(rows)
    for at, pairs in image_pairs(*given, **options):
        for i, image, prediction in zip(at, pairs.image, pairs.prediction, strict=True):
            found[i] = image, prediction
    return tuple(np.stack(values) for values in zip(*found, strict=True))


def test_powers_are_those_of_the_log(scored: ScoredRound) -> None:
    rows, nothing = np.arange(50), np.zeros(len(scored.data), dtype=np.float32)
    image, prediction = pictures(scored, rows, nothing)
    own = chunk_sums(scored.data.take(rows), nothing[rows], scored.scorer.comparison).own.sum(axis=1)
    np.testing.assert_allclose(np.square(image).sum(axis=(1, 2)), own[:, 0], rtol=1e-5)
    np.testing.assert_allclose(np.square(prediction).sum(axis=(1, 2)), own[:, 1], rtol=1e-5)
    np.testing.assert_allclose((image * prediction).sum(axis=(1, 2)), own[:, 2], atol=1e-3 * own[:, 1].max())


def test_images_are_those_of_the_stack_centred(scored: ScoredRound) -> None:
    rows = np.arange(10)
    image, _ = pictures(scored, rows, scored.weights)
    with StackReader(scored.data) as reader:
        raw = reader.read(rows)
    pixel = scored.data.reference_optics.pixel_size_angstrom
    for picture, pixels, shift in zip(image, raw, scored.data.shifts_angstrom[rows] / pixel, strict=True):
        moved = scipy.ndimage.fourier_shift(np.fft.fft2(pixels), shift[::-1])
        view_correlation = np.corrcoef(np.fft.ifft2(moved).real.ravel(), picture.ravel())[0, 1]
        assert view_correlation > 0.7  # corners of Fourier space are left out; of noise a pixel off it is near 0
        assert abs(picture.std() / pixels.std() - view_correlation) < 0.05


def test_small_pictures_lose_fine_detail_alone(scored: ScoredRound) -> None:
    rows = np.arange(5)
    large, small = (pictures(scored, rows, scored.weights, size=size)[0] for size in (32, 16))
    assert small.shape == (5, 16, 16)
    spectrum, cut = (np.fft.fftshift(np.fft.fft2(v, norm="ortho"), axes=(1, 2)) for v in (large, small))
    inside = slice(16 - 7, 16 + 8)
    np.testing.assert_allclose(np.abs(spectrum[:, inside, inside]), np.abs(cut[:, 1:, 1:]), atol=1e-4)


def test_whitened_images_have_unit_noise(scored: ScoredRound) -> None:
    rows = np.arange(100)
    image, prediction = pictures(scored, rows, scored.weights, sigma2=scored.scorer.noise.groups)
    disc = 2 * len(scored.scorer.comparison.reference.samples[0].pairs) / 32**2  # of the square of frequencies
    assert np.var(image - prediction) == pytest.approx(disc, rel=0.05)


def thickness_of(scored: ScoredRound, rows: np.ndarray) -> np.ndarray:
    part, comparison = scored.data.take(rows), scored.scorer.comparison
    reference = comparison.reference
    with StackReader(part) as reader:
        prepared = prepare(reader.read(np.arange(len(rows))), part, reference.frames[0], comparison.backend)
    half = part.column("half").astype(np.int32) - 1
    whole = np.ones(len(rows), dtype=np.float32)
    given = part.rotations, half, whole, reference, reference.samples[0], comparison.backend
    return thickness(Batch(prepared, *given), 32)


def test_thickness_is_the_mask_projected(scored: ScoredRound) -> None:
    mask, _ = read_map(scored.directory / "mask.mrc")
    rows = np.arange(4)
    part, found = scored.data.take(rows), thickness_of(scored, rows)
    centre = np.full(3, 16.0)
    for rotation, values in zip(part.rotations, found, strict=True):
        turn = rotation[::-1, ::-1].T  # arrays are indexed z, y, x
        turned = scipy.ndimage.affine_transform(mask, turn, offset=centre - turn @ centre, order=1)
        expected = turned.mean(axis=0) / turned.mean()
        np.testing.assert_allclose(values, expected, atol=0.08 * expected.max())


def test_the_self_contribution_is_taken_out_where_it_is(scored: ScoredRound, folder: Path, tmp_path: Path) -> None:
    """Against a map that was made without the particle."""
    row = 7
    others = scored.weights.copy()
    others[row] = 0.0
    table = scored.data.table.select(["particle_id"]).append_column("weight", [others])
    pq.write_table(table, tmp_path / "subset.parquet")
    given = {"settings": Reconstruct(), "symmetry": "C1", "backend": get_backend("cpu"), "out_dir": tmp_path / "round"}
    mask = folder / "round" / "mask.mrc"
    reconstruct(folder / "particles.parquet", tmp_path / "subset.parquet", mask, **given)
    files = folder / "particles.parquet", folder / "scores.parquet", tmp_path / "round", tmp_path / "subset.parquet"
    without = ScoredRound.read(*files, symmetry="C1", seed=0, backend=get_backend("cpu"))
    at = np.array([row])
    truth = pictures(without, at, others)[1]
    corrected = pictures(scored, at, scored.weights)[1]
    biased = pictures(scored, at, np.zeros_like(scored.weights))[1]
    # of one particle; means over many are in tests/score/test_leave_one_out.py
    assert np.square(corrected - truth).sum() < 0.4 * np.square(biased - truth).sum()
    outside = thickness_of(scored, at)[0] < 0.1
    assert np.abs(corrected - truth)[0, outside].max() < 0.05 * np.abs(truth).max()


@pytest.mark.gpu
def test_backends_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_rate, "BOOTSTRAP", 2)  # its interval is no matter of the GPU
    simulated(tmp_path, PlantedErrors(), box=32, n_particles=100, n_micrographs=4)
    logged(tmp_path, Score(n_bands=8))
    files, rows = [tmp_path / name for name in ("particles.parquet", "scores.parquet", "round")], np.arange(20)
    rounds = [ScoredRound.read(*files, None, symmetry="C1", seed=0, backend=get_backend(b)) for b in ("cpu", "cuda")]
    for one, two in zip(*(pictures(r, rows, r.weights) for r in rounds), strict=True):
        np.testing.assert_allclose(two, one, atol=1e-4 * np.abs(one).max())


def test_exports_are_the_same_in_both_formats(scored: ScoredRound, tmp_path: Path) -> None:
    rows = chosen_rows(scored, count=20)
    export_residuals(scored, rows, tmp_path / "mrc")
    export_residuals(scored, rows, tmp_path / "npy", "npy")
    arrays = {name: read_stack(tmp_path / "npy" / f"{name}.npy") for name in ("image", "prediction", "residual")}
    for name, array in arrays.items():
        np.testing.assert_array_equal(mrcfile.read(tmp_path / "mrc" / f"{name}.mrcs"), array)
    np.testing.assert_allclose(arrays["residual"], arrays["image"] - arrays["prediction"], atol=1e-6)
    table = pq.read_table(tmp_path / "npy" / "particles.parquet")
    np.testing.assert_array_equal(table.column("particle_id").to_numpy(), scored.data.ids[rows])
    image, _ = pictures(scored, rows, scored.weights)
    np.testing.assert_array_equal(arrays["image"], image)
    assert not [p for p in (tmp_path / "npy").iterdir() if p.name.startswith(".")]
    export_residuals(scored, rows[:5], tmp_path / "npy")
    assert not (tmp_path / "npy" / "image.npy").exists()  # of other particles than the table


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.zeros((3, 4, 4)).dump(tmp_path / "dumped.npy")
    with pytest.raises(InputError, match=r"pickle.*docs/how-to/use-a-classifier\.md"):
        read_stack(tmp_path / "dumped.npy")
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"objects\.npy"):
        read_stack(tmp_path / "objects.npy")
    np.save(tmp_path / "flat.npy", np.zeros((3, 4)))
    with pytest.raises(InputError, match="not a stack of square images"):
        read_stack(tmp_path / "flat.npy")
    np.save(tmp_path / "res_corr.npy", np.ones((3, 4, 4), dtype=np.float32))
    assert read_stack(tmp_path / "res_corr.npy").shape == (3, 4, 4)


def test_particles_are_named_by_id(scored: ScoredRound, tmp_path: Path) -> None:
    wanted = scored.data.table.select(["particle_id"]).take([5, 2])
    pq.write_table(wanted, tmp_path / "ids.parquet")
    assert chosen_rows(scored, ids=tmp_path / "ids.parquet").tolist() == [2, 5]
    stranger = wanted.set_column(0, "particle_id", [np.array([1, 2], dtype=np.uint64)])
    pq.write_table(stranger, tmp_path / "others.parquet")
    with pytest.raises(InputError, match="not in this run"):
        chosen_rows(scored, ids=tmp_path / "others.parquet")
    with pytest.raises(InputError, match="no particle is dropped"):
        chosen_rows(scored, "dropped")
