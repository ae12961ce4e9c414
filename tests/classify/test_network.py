"""The network: what it learns, what it cannot see, and that it is the same after an interruption."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cryocore.classify.evidence import evidence, turned  # noqa: E402
from cryocore.classify.network import Network, Training, fit  # noqa: E402
from cryocore.errors import InputError  # noqa: E402
from cryocore.log.rates import auc  # noqa: E402
from cryocore.training import checkpoint  # noqa: E402
from tests.boards import recorded  # noqa: E402

SHORT = Training(n_epochs=4, patience=4, batch_size=32, learning_rate=3e-3)
ELEMENTS = [(turns, mirror) for turns in range(4) for mirror in (False, True)]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """One thread of torch; as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def examples(seed, n=320, side=32, power=25.0):
    """Images of a smooth random projection at a random scale, and noise; every other prediction is of another image."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    smooth = np.exp(-60.0 * frequency**2) * (frequency > 0)
    true, other = (
        np.fft.irfft2(np.fft.rfft2(random.normal(size=(n, side, side))) * smooth, s=(side, side)) for _ in range(2)
    )
    scale = np.sqrt(power / np.mean(np.sum(true**2, axis=(1, 2))))
    labels = np.arange(n) % 2
    projection = scale * np.where(labels[:, None, None] == 1, true, other)
    image = scale * random.uniform(0.6, 1.4, (n, 1, 1)) * true + random.normal(size=true.shape)
    images = np.stack([projection - image, projection, image], axis=1).astype(np.float32)
    return images, labels


def held_out(n):
    """Every fourth pair of images."""
    return np.arange(n) // 2 % 4 == 0


def trained(folder=None, settings=SHORT, seed=0, **changes):
    """A network on 240 training and 80 validation images."""
    images, labels = examples(0)
    given = {"labels": labels, "weights": np.ones(len(labels)), "validation": held_out(len(labels))} | changes
    return fit(images, **given, settings=settings, seed=seed, folder=folder, name="network")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """One network for the tests that only ask it."""
    return trained(tmp_path_factory.mktemp("whole"))


def states_equal(one, other):
    """Whether two networks are the same to the last bit."""
    a, b = one.net.state_dict(), other.net.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_learns_a_correlation_that_the_residual_power_does_not_show(network):
    images, labels = examples(1, n=400)
    correct = labels == 1
    assert auc(-np.square(images[:, 0]).sum(axis=(1, 2)), correct) < 0.85
    odds = network.log_odds(images)
    assert auc(odds, correct) > 0.95
    assert np.mean((odds > 0) == correct) > 0.8
    assert network.history[-1].validation_loss < 0.5 * np.log(2)


@pytest.mark.parametrize("side", [32, 33])
@pytest.mark.parametrize("turns, mirror", ELEMENTS)
def test_evidence_turns_with_the_images(side, turns, mirror):
    images = torch.from_numpy(examples(2, n=4, side=side)[0])
    moved = (images.flip(-1) if mirror else images).rot90(turns, (-2, -1))
    expected = turned(evidence(images), turns + 4 * mirror)
    torch.testing.assert_close(evidence(moved), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("turns, mirror", ELEMENTS[1:])
def test_log_odds_are_the_same_for_all_channels_turned_alike_but_not_for_one(network, turns, mirror):
    images = examples(3, n=8)[0]
    moved = np.ascontiguousarray(np.rot90(images[..., ::-1] if mirror else images, turns, (-2, -1)))
    known = network.log_odds(images)
    np.testing.assert_allclose(network.log_odds(moved), known, atol=1e-3)
    alone = images.copy()
    alone[:, 2] = moved[:, 2]
    assert np.abs(network.log_odds(alone) - known).max() > 0.5


def test_the_signs_of_the_riesz_products_tell_where_a_detail_lies():
    y, x = np.mgrid[:32, :32] - 16.0
    blob = np.exp(-(y**2 + x**2) / 18.0)
    images = np.stack([blob * 0, blob, np.roll(blob, 2, axis=1)]).astype(np.float32)[None]
    means = evidence(torch.from_numpy(images)).mean(dim=(3, 4))[0]
    along_y, along_x = means[4], means[5]
    strongest = means[0].argmax()
    assert abs(along_x[strongest]) > 0.2 * means[0, strongest] and abs(along_y[strongest]) < 1e-4 * means[0, strongest]
    mirrored = evidence(torch.from_numpy(np.ascontiguousarray(images[..., ::-1]))).mean(dim=(3, 4))[0]
    assert torch.allclose(mirrored[5], -along_x, atol=1e-6)


def test_products_of_a_band_sum_to_those_of_its_spectrum():
    images = torch.from_numpy(examples(4, n=2, side=64)[0])
    frequency = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.fftfreq(64)[None])
    spectra = torch.fft.fft2(images.double())
    cross = (spectra[:, 2].conj() * spectra[:, 1]).real
    for number, found in zip(range(1, 10), evidence(images)[:, 0].mean(dim=(2, 3)).T, strict=True):
        weight = (1 - (torch.sqrt(2 * frequency) / 0.1 - number).abs()).clamp(min=0)
        expected = (weight**2 * cross).sum(dim=(1, 2)) / 64**4
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-7)


def test_an_interrupted_training_ends_with_the_same_network(network, tmp_path, monkeypatch):
    write, saved = checkpoint.save, []

    def interrupt(path, state):
        write(path, state)
        saved.append(path)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts")
    monkeypatch.undo()
    torch.manual_seed(1234)
    torch.rand(7)
    before = torch.get_rng_state()
    resumed = trained(tmp_path / "parts")
    assert torch.equal(torch.get_rng_state(), before)
    assert states_equal(resumed, network) and resumed.history == network.history
    resumed.save(tmp_path / "a.pt")
    network.save(tmp_path / "b.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    assert not list(tmp_path.rglob("*.npy"))
    other = trained(tmp_path / "parts", seed=1, settings=replace(SHORT, n_epochs=1))
    assert len(other.history) == 1 and not states_equal(other, network)


def test_curves_and_pictures_are_written_where_tensorboard_is(tmp_path, monkeypatch):
    written = recorded(monkeypatch)
    found = trained(tmp_path, settings=replace(SHORT, n_epochs=6, patience=6))
    assert {entry[0] for entry in written.entries} == {str(tmp_path / "tensorboard" / "network")}
    assert written.values("scalar", "validation_loss") == [e.validation_loss for e in found.history]
    assert written.epochs("figure", "input") == [0]
    assert written.epochs("figure", "most_surprising") == [0, 1, 2, 4, 5]
    for name in ("weights/stem.0.weight", "probability/correct", "probability/incorrect"):
        assert written.epochs("histogram", name) == [0, 1, 2, 4, 5]
    layers = {name for _, kind, name, _, _ in written.entries if kind == "histogram" and name.startswith("weights/")}
    assert layers == {f"weights/{n}" for n, _ in found.net.named_parameters() if n.endswith("weight")}
    first, last = (written.values("histogram", "weights/stem.0.weight")[i] for i in (0, -1))
    assert not torch.equal(first, last)
    likely = written.values("histogram", "probability/correct")[-1]
    assert len(likely) == 40 and likely.mean() > 0.5 > written.values("histogram", "probability/incorrect")[-1].mean()


def test_training_ends_when_the_validation_loss_rises_and_keeps_the_best():
    random = np.random.default_rng(0)
    labels = random.integers(2, size=320)
    found = trained(labels=labels, settings=replace(SHORT, n_epochs=40, patience=2, learning_rate=1e-2))
    losses = [e.validation_loss for e in found.history]
    assert len(losses) == np.argmin(losses) + 3 < 40
    images, _ = examples(0)
    held = held_out(320)
    odds = found.log_odds(images[held])
    again = np.mean(np.logaddexp(0, np.where(labels[held] == 1, -odds, odds)))
    assert again == pytest.approx(min(losses), abs=1e-4)


def test_images_without_weight_do_not_count():
    labels = examples(0)[1].copy()
    incorrect = np.arange(320) % 5 == 1
    labels[incorrect] = 1 - labels[incorrect]
    found = trained(labels=labels, weights=np.where(incorrect, 0.0, 2.0), settings=replace(SHORT, n_epochs=3))
    images, truth = examples(1, n=200)
    assert auc(found.log_odds(images), truth == 1) > 0.9


def test_a_saved_network_is_the_same_and_reads_other_sides(network, tmp_path):
    network.save(tmp_path / "network.pt")
    kept = Network.load(tmp_path / "network.pt")
    assert states_equal(kept, network) and kept.history == network.history
    for side in (16, 33, 48):
        images = examples(5, n=6, side=side)[0]
        odds = kept.log_odds(images)
        assert np.isfinite(odds).all() and np.array_equal(odds, network.log_odds(images))


def test_files_that_are_no_network_are_refused(network, tmp_path):
    path = tmp_path / "network.pt"
    with pytest.raises(InputError, match="does not exist"):
        Network.load(path)
    path.write_bytes(pickle.dumps({"net": print}))
    with pytest.raises(InputError, match="cannot be read"):
        Network.load(path)
    torch.save({"identity": "cryocore.classify.network 1", "state": {}, "history": []}, path)
    with pytest.raises(InputError, match="not a network"):
        Network.load(path)
    network.save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="cannot be read"):
        Network.load(path)


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"labels": np.ones(320, int)}, "training images are all correct"),
        ({"labels": np.where(held_out(320), 0, np.arange(320) % 2)}, "validation images are all incorrect"),
        ({"validation": np.zeros(320, bool)}, "validation images are absent"),
        ({"weights": np.ones(319)}, "weights must be"),
        ({"weights": np.full(320, np.nan)}, "finite"),
    ],
)
def test_examples_that_teach_nothing_are_refused(changes, problem):
    with pytest.raises(InputError, match=problem):
        trained(**changes)


def test_images_that_are_none_are_refused(network):
    images = examples(0, n=4)[0]
    with pytest.raises(InputError, match=r"\(n, 3, s, s\)"):
        network.log_odds(images[:, :2])
    images[2, 1, 0, 0] = np.nan
    with pytest.raises(InputError, match="row 3"):
        network.log_odds(images)
