"""Fourier shell correlation against direct formulas, known answers and RELION."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
import scipy.fft

from cryocore.maps import fsc, fsc_weight, half_map_fsc, resolution_at, shell_index, soft_ball, write_map
from cryocore.maps.fsc import above_chance


def direct_fsc(first, second):
    """Over the full transform, in float64."""
    n = len(first)
    k = np.fft.fftfreq(n, 1 / n)
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int)
    a, b = np.fft.fftn(first), np.fft.fftn(second)
    curve = []
    for s in range(n // 2 + 1):
        at = shell == s
        curve.append((a[at] * b[at].conj()).real.sum() / np.sqrt((abs(a[at]) ** 2).sum() * (abs(b[at]) ** 2).sum()))
    return np.array(curve)


def noisy_halves(n, seed, cut_off=0.5, width=2.0, noise=1.0):
    """Two maps of one blurred ball-shaped object, with independent white noise."""
    rng = np.random.default_rng(seed)
    shells = shell_index(n)
    fall = 1.0 / (1.0 + np.exp((shells - cut_off * n / 2) / width))
    body = soft_ball(n, n / 5, n / 20)
    signal = scipy.fft.irfftn(scipy.fft.rfftn(rng.normal(size=(n,) * 3) * body) * fall, s=(n,) * 3) + 0.3 * body
    return [(signal + noise * signal.std() * rng.normal(size=signal.shape)).astype(np.float32) for _ in range(2)]


@pytest.mark.parametrize("n", [16, 17, 24])
def test_equals_the_sum_over_the_full_transform(n):
    rng = np.random.default_rng(n)
    a = rng.normal(size=(n, n, n))
    b = a + rng.normal(size=a.shape)
    np.testing.assert_allclose(fsc(a, b), direct_fsc(a, b), atol=2e-6)


@pytest.mark.parametrize("n", [16, 17])
def test_a_map_with_itself(n):
    a = np.random.default_rng(0).normal(size=(n, n, n))
    np.testing.assert_allclose(fsc(a, a), 1.0, atol=1e-12)
    np.testing.assert_allclose(fsc(a, -3 * a), -1.0, atol=1e-6)
    np.testing.assert_allclose(fsc(1e-6 * a, 1e-6 * a), 1.0, atol=1e-6)


def test_empty_shells_are_zero():
    assert fsc(np.zeros((8, 8, 8)), np.zeros((8, 8, 8))).tolist() == [0.0] * 5


def test_pure_noise_has_the_known_spread():
    """Without signal the FSC of a shell of m independent coefficients has variance 1/m."""
    n, curves = 32, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        curves.append(fsc(rng.normal(size=(n,) * 3), rng.normal(size=(n,) * 3)))
    k = np.fft.fftfreq(n, 1 / n)
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int)
    independent = np.bincount(shell.ravel())[4:16] / 2
    assert np.std(curves, axis=0)[4:16] * np.sqrt(independent) == pytest.approx(1 / np.sqrt(2), rel=0.25)
    assert abs(np.mean(curves, axis=0)[4:16]).max() < 0.05


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="n, n, n"):
        fsc(np.zeros((4, 4, 4)), np.zeros((5, 5, 5)))


def test_no_mask_leaves_all_curves_equal():
    curves = half_map_fsc(*noisy_halves(32, 1), None, 2.0)
    for name in ("masked", "phase_randomised", "corrected"):
        np.testing.assert_array_equal(getattr(curves, name), curves.unmasked)
    assert curves.shell.tolist() == list(range(17))
    assert curves.resolution_angstrom[1] == 64.0 and np.isinf(curves.resolution_angstrom[0])


def test_the_mask_of_noise_is_taken_out():
    """A tight mask correlates the noise of both halves; the correction brings it back to zero."""
    n = 48
    rng = np.random.default_rng(3)
    body = 20.0 * soft_ball(n, 8, 3)
    halves = [body + rng.normal(size=body.shape) for _ in range(2)]
    mask = soft_ball(n, 5, 1)
    masked, corrected = [], []
    for seed in range(12):
        rng = np.random.default_rng(100 + seed)
        halves = [body + rng.normal(size=body.shape) for _ in range(2)]
        curves = half_map_fsc(*halves, mask, 1.0, seed=seed)
        masked.append(curves.masked)
        corrected.append(curves.corrected)
    far = slice(curves.metadata["randomised_from_shell"] + 6, n // 2)
    truth = fsc(body * mask, body * mask)
    assert truth.shape == curves.masked.shape
    assert np.mean(corrected, axis=0)[far].mean() < 0.5 * np.mean(masked, axis=0)[far].mean()


def test_correction_formula_and_start():
    curves = half_map_fsc(*noisy_halves(48, 2), soft_ball(48, 14, 4), 1.5, seed=1)
    start = curves.metadata["randomised_from_shell"]
    assert np.all(curves.unmasked[1:start] >= 0.8) and curves.unmasked[start] < 0.8
    np.testing.assert_array_equal(curves.corrected[: start + 2], curves.masked[: start + 2])
    masked, randomised = curves.masked[start + 2 :], curves.phase_randomised[start + 2 :]
    np.testing.assert_allclose(curves.corrected[start + 2 :], (masked - randomised) / (1 - randomised), atol=1e-12)
    assert abs(curves.phase_randomised[start + 4 :]).mean() < 0.06
    assert curves.masked[start + 4] > 0.5


def test_randomised_phases_keep_the_volume_real_and_its_power():
    from cryocore.maps.fsc import _randomise

    for n in (16, 17):
        a = np.random.default_rng(n).normal(size=(n, n, n)).astype(np.float32)
        spectrum = scipy.fft.rfftn(a)
        turned = np.empty_like(spectrum)
        _randomise(spectrum, 3, np.random.default_rng(0), turned)
        again = scipy.fft.rfftn(scipy.fft.irfftn(turned, s=(n,) * 3))
        np.testing.assert_allclose(again, turned, atol=2e-4)
        np.testing.assert_allclose(abs(again), abs(spectrum), atol=2e-4)
        np.testing.assert_allclose(again[shell_index(n) < 3], spectrum[shell_index(n) < 3], atol=2e-4)
        beyond = shell_index(n) >= 3
        assert abs(np.corrcoef(again[beyond].real, spectrum[beyond].real)[0, 1]) < 0.1


def test_the_randomised_curve_is_the_mean_of_four(monkeypatch):
    """Over seeds it spreads half as much as that of one set of random phases."""
    halves, mask = noisy_halves(24, 4), soft_ball(24, 6, 2)

    def spread():
        return np.std([half_map_fsc(*halves, mask, 1.0, seed=s).phase_randomised[8:] for s in range(24)], axis=0).mean()

    of_four = spread()
    monkeypatch.setitem(half_map_fsc.__globals__, "RANDOMISATIONS", 1)
    assert of_four / spread() == pytest.approx(0.5, abs=0.2)  # 24 seeds know a spread to 15 %


def test_same_seed_same_curves():
    halves, mask = noisy_halves(32, 4), soft_ball(32, 10, 3)
    one, two, other = (half_map_fsc(*halves, mask, 1.0, seed=s).corrected for s in (7, 7, 8))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    "curve, threshold, expected",
    [
        ([1, 1, 0.5, 0.0], 0.25, 12.0),
        ([1, 1, 1, 1], 0.143, 10.0),
        ([1, 0.1, 0.9, 0.9], 0.143, 10.0),
        ([1, 0.1, 0.1, 0.1], 0.143, 30.0),
        ([1, 0.9, 0.1, 0.9], 0.5, 20.0),
        ([1, 1, np.nan, 1], 0.5, 30.0),
    ],
)
def test_resolution_at(curve, threshold, expected):
    assert resolution_at(curve, [np.inf, 30.0, 15.0, 10.0], threshold) == pytest.approx(expected)


def test_resolution_is_that_of_the_mean_map_at_one_half_of_its_correlation_with_the_truth():
    """Half way from 0.2 to 0.086."""
    assert resolution_at([1, 1, 0.2, 0.086], [np.inf, 30.0, 15.0, 10.0]) == pytest.approx(12.0)


def test_weight_is_smooth_and_ends():
    rng = np.random.default_rng(0)
    s = np.arange(65)
    curve = 1 / (1 + np.exp((s - 25) / 3)) + rng.normal(0, 0.02, 65)
    weight = fsc_weight(curve)
    assert weight.min() == 0.0 and weight.max() <= 1.0 and weight[0] > 0.95
    assert np.all(weight[45:] == 0.0) and np.all(weight[:30] > 0)
    assert abs(np.diff(weight)).max() < 0.12
    merged = fsc_weight(curve, merged=True)
    assert np.all(merged >= weight) and merged[25] == pytest.approx(2 / 3, abs=0.05)


@pytest.mark.skipif(shutil.which("relion_postprocess") is None, reason="relion_postprocess is not installed")
@pytest.mark.parametrize("seed, cut_off, noise", [(0, 0.5, 1.0), (1, 0.4, 2.0), (2, 0.75, 0.5)])
def test_agrees_with_relion_postprocess(tmp_path, seed, cut_off, noise):
    """Same resolution within one shell, and the same curves where no random phases enter."""
    n, pixel = 64, 2.0
    halves, mask = noisy_halves(n, seed, cut_off=cut_off, noise=noise), soft_ball(n, 16, 5)
    for name, values in (("half1_unfil", halves[0]), ("half2_unfil", halves[1]), ("mask", mask)):
        write_map(tmp_path / f"{name}.mrc", values, pixel)
    command = [
        "relion_postprocess",
        "--i",
        "half1_unfil.mrc",
        "--mask",
        "mask.mrc",
        "--angpix",
        str(pixel),
        "--o",
        "post/post",
    ]
    (tmp_path / "post").mkdir()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "post" / "post.star").read_text()
    theirs = float(re.search(r"_rlnFinalResolution\s+([0-9.]+)", text)[1])
    labels = re.findall(r"^_(rln\S+) #(\d+)", text.split("data_fsc")[1], flags=re.MULTILINE)
    column = {name: int(i) - 1 for name, i in labels}
    block = text.split("data_fsc")[1].split("data_guinier")[0]
    rows = [line.split() for line in block.splitlines() if re.match(r"\s+\d", line)]
    their = {name: np.array([float(row[i]) for row in rows]) for name, i in column.items()}

    curves = half_map_fsc(*halves, mask, pixel)
    ours = resolution_at(curves.corrected, curves.resolution_angstrom, 0.143)
    assert abs(n * pixel / ours - n * pixel / theirs) <= 1.0
    # RELION counts each coefficient of the half transform once: small differences in every shell
    far = slice(4, n // 2)
    np.testing.assert_allclose(curves.unmasked[far], their["rlnFourierShellCorrelationUnmaskedMaps"][far], atol=0.04)
    np.testing.assert_allclose(curves.masked[far], their["rlnFourierShellCorrelationMaskedMaps"][far], atol=0.04)
    np.testing.assert_allclose(curves.corrected[far], their["rlnFourierShellCorrelationCorrected"][far], atol=0.12)


def test_a_weak_first_shell_does_not_end_the_weights():
    weight = fsc_weight([1.0, -0.14, 0.06, 0.30, 0.27, 0.25, 0.02, 0.0, 0.0, 0.3])
    assert weight[3:5].min() > 0.15
    assert weight[8:].max() == 0.0


def test_noise_agrees_by_chance_as_often_as_a_normal_variable():
    rng = np.random.default_rng(7)
    found = np.array([above_chance(fsc(*rng.normal(size=(2, 24, 24, 24))), 1) for _ in range(200)])
    assert abs(found.mean()) < 0.35 and 0.75 < found.std() < 1.2
    assert np.abs(found).max() < 4
