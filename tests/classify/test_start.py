"""Going on from a network that has learned elsewhere: what it brings, what it is compared with, and what is refused."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch")

from cryocore.classify.models import load_model, save_model  # noqa: E402
from cryocore.classify.network import RATE, TUNING_RATE, Network, Training, fit, weights_digest  # noqa: E402
from cryocore.classify.plain import open_residuals, train_plain  # noqa: E402
from cryocore.classify.rounds import ScoredRound  # noqa: E402
from cryocore.classify.start import AS_IT_IS, FROM_SCRATCH, Start, from_scratch, start_of  # noqa: E402
from cryocore.classify.train import train  # noqa: E402
from cryocore.classify.training_set import make_training_set  # noqa: E402
from cryocore.config.classify import Classify  # noqa: E402
from cryocore.config.run import parse_config  # noqa: E402
from cryocore.errors import InputError  # noqa: E402
from cryocore.log.rates import auc  # noqa: E402
from cryocore.tables.io import table_metadata  # noqa: E402
from tests.classify.test_network import examples, held_out, states_equal, trained  # noqa: E402
from tests.classify.test_plain import residuals  # noqa: E402
from tests.classify.test_stage import classified  # noqa: E402

FEW, WEAKER = 64, 9.0
"""Images to fine-tune on, and their signal: less than that of the images that the start has learned from."""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network that has learned from 240 images."""
    folder = tmp_path_factory.mktemp("elsewhere")
    trained(settings=Training(n_epochs=8, patience=8, batch_size=32, learning_rate=3e-3)).save(folder / "network.pt")
    return folder


def tuned(start: Path | None, folder: Path | None = None, **changes: Any) -> Network:
    """A network of a few images of weaker signal."""
    images, labels = examples(7, n=FEW, power=WEAKER)
    given = {"labels": labels, "weights": np.ones(FEW), "validation": held_out(FEW)}
    settings = replace(Training(n_epochs=6, patience=6, batch_size=32, learning_rate=1e-3), **changes)
    network = None if start is None else Start.read(start).network
    return fit(images, **given, settings=settings, seed=0, folder=folder, name="tuned", start=network)


def test_what_was_learned_elsewhere_helps_where_images_are_few(elsewhere: Path) -> None:
    before = Start.read(elsewhere)
    images, labels = examples(8, n=400, power=WEAKER)
    areas = [auc(network.log_odds(images), labels == 1) for network in (tuned(elsewhere), tuned(None), before.network)]
    assert areas[0] > areas[1] + 0.02 and areas[0] > 0.95
    assert areas[0] > areas[2] - 0.01
    assert weights_digest(before.network.net) == before.digest == Start.read(elsewhere).digest


def test_weights_come_from_the_start_and_scales_from_the_images_at_hand(elsewhere: Path) -> None:
    before, after = Start.read(elsewhere).network.net, tuned(elsewhere, n_epochs=1, learning_rate=1e-12).net
    parameters = dict(before.named_parameters())
    assert all(torch.allclose(value, parameters[name], atol=1e-6) for name, value in after.named_parameters())
    anew = tuned(None, n_epochs=1).net
    assert torch.equal(after.mean, anew.mean) and torch.equal(after.sd, anew.sd)
    assert not torch.allclose(after.mean, before.mean, rtol=0.1)


def test_an_interrupted_training_goes_on_from_the_same_start_only(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, steps = tuned(elsewhere, tmp_path), []
    again = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *given: (steps.append(1), again(self, *given))[1])
    assert states_equal(tuned(elsewhere, tmp_path), first) and not steps
    other = tmp_path / "other"
    trained(settings=Training(n_epochs=1, batch_size=32), seed=3).save(other / "network.pt")
    assert not states_equal(tuned(other, tmp_path), first) and steps


def test_the_learning_rate_is_lower_from_a_start_unless_it_is_given() -> None:
    start = Classify(model="cnn", start="models/theirs")
    assert Training.of(start).learning_rate == TUNING_RATE < Training.of(Classify(model="cnn")).learning_rate == RATE
    given = start.model_copy(update={"learning_rate": 0.01})
    assert Training.of(given).learning_rate == 0.01
    assert Training.of(from_scratch(given)) == Training()


def test_only_networks_go_on(tmp_path: Path) -> None:
    for model in ("logistic", "boosting", "none"):
        with pytest.raises(InputError, match="start: only a network goes on learning"):
            parse_config({"classify": {"model": model, "start": "models/theirs"}})
    assert start_of(Classify(model="cnn"), None) is None
    with pytest.raises(InputError, match=r"no model to start from: there is no network\.pt"):
        Start.read(tmp_path)
    about = {"format": "cryocore.classify.model 1", "kind": "boosting", "scale": [1.0, 0.0]}
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match="a model of kind boosting, and only networks go on"):
        Start.read(tmp_path)


def test_files_that_are_no_network_of_this_architecture_are_refused(elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "network.pt").write_bytes(pickle.dumps({"net": print}))
    with pytest.raises(InputError, match="cannot be read"):
        Start.read(tmp_path)
    kept = torch.load(elsewhere / "network.pt", weights_only=True)
    wider = {**kept["state"], "stem.0.weight": torch.zeros(64, 55, 3, 3)}
    torch.save({**kept, "state": wider}, tmp_path / "network.pt")
    with pytest.raises(InputError, match=r"stem\.0\.weight is \(64, 55, 3, 3\), not \(32, 55, 3, 3\)"):
        Start.read(tmp_path)


def test_images_of_another_kind_are_refused(elsewhere: Path, tmp_path: Path) -> None:
    start, images = Start.read(elsewhere), examples(9, n=40)[0]
    start.require_like(images)
    with pytest.raises(InputError, match=r"learned from images of 32 pixels a side, these have 48.*image_size"):
        start.require_like(examples(9, n=40, side=48)[0])
    with pytest.raises(InputError, match=r"from residuals with predictions, these are residuals alone.*two stacks"):
        start.require_like(images * np.array([1, 0, 1], dtype=np.float32)[:, None, None])
    with pytest.raises(InputError, match=r"normalised otherwise: in frequency band \d of 9 .* (8|9)\.\d+ times"):
        start.require_like(3 * images)
    spectrum = np.fft.rfft2(images)
    spectrum[..., :2, :2] *= 4.0
    with pytest.raises(InputError, match=r"normalised otherwise: in frequency band [12] of 9"):
        start.require_like(np.fft.irfft2(spectrum, s=(32, 32)).astype(np.float32))
    kept = torch.load(elsewhere / "network.pt", weights_only=True)
    del kept["side"]  # as files had none
    torch.save(kept, tmp_path / "network.pt")
    assert Start.read(tmp_path).network.side is None
    assert Start.read(tmp_path).digest == start.digest


def test_two_stacks_are_set_beside_the_start_and_beside_nothing(tmp_path: Path) -> None:
    def stacks(name: str, n: int, left: float, seed: int) -> tuple[Path, Path]:
        np.save(tmp_path / f"{name}_right.npy", residuals(n, 32, 0.0, seed))
        np.save(tmp_path / f"{name}_wrong.npy", residuals(n, 32, left, seed + 1))
        return tmp_path / f"{name}_right.npy", tmp_path / f"{name}_wrong.npy"

    many, few = stacks("many", 150, 0.5, 1), stacks("few", 24, 0.35, 3)
    quick = Classify(model="cnn", n_folds=3, n_epochs=6)
    train_plain(*many, quick, tmp_path / "theirs", seed=0)
    settings = Classify(model="cnn", n_folds=3, n_epochs=6, start=str(tmp_path / "theirs"))
    found = train_plain(*few, settings, tmp_path / "tuned", seed=0)
    card = json.loads((tmp_path / "tuned" / "card.json").read_text())
    assert card["start"] == {"folder": settings.start, "weights_sha256": Start.read(tmp_path / "theirs").digest}
    area = {name: values["value"] for name, values in card["tuning"]["auc"].items()}
    assert area["probability"] == pytest.approx(found.auc.value)
    images = open_residuals(*few)
    odds = Network.load(tmp_path / "theirs" / "network.pt").log_odds(images)
    assert area[AS_IT_IS] == pytest.approx(auc(odds, images.correct))
    train_plain(*few, quick, tmp_path / "scratch", seed=0)
    alone = json.loads((tmp_path / "scratch" / "card.json").read_text())
    assert area[FROM_SCRATCH] == alone["evaluation"]["auc"]["value"] < area["probability"]
    assert "start" not in alone
    text = (tmp_path / "tuned" / "card.md").read_text()
    assert "| one from scratch | 48 |" in text and "- Fine-tuned, it is " in text


def test_the_classifier_of_a_run_is_a_start_for_another(folder: Path, scored: ScoredRound, tmp_path: Path) -> None:
    quick: dict[str, Any] = {"model": "cnn", "n_training": 60, "image_size": 16, "n_epochs": 2}
    classified(folder, tmp_path / "first", settings=Classify(**quick))
    theirs = tmp_path / "first" / "classifier"
    assert load_model(theirs)[1]["labels"] == "planted"
    settings = Classify(**quick, start=str(theirs))
    classified(folder, tmp_path, settings=settings)
    known = table_metadata(pq.read_schema(tmp_path / "probability.parquet"))["classifier"]
    assert known["start"] == {"folder": str(theirs), "weights_sha256": Start.read(theirs).digest}
    card = json.loads((tmp_path / "classifier" / "card.json").read_text())
    assert set(card["tuning"]["gain"]) == {AS_IT_IS, FROM_SCRATCH}
    assert card["about"]["training"]["start"] == known["start"]
    judged = make_training_set(scored, settings)
    rows = np.flatnonzero(~judged.correct | (judged.weight > 0.5))
    odds = Start.read(theirs).network.log_odds(judged.examples.take(rows).pictures)
    assert card["tuning"]["auc"][AS_IT_IS]["value"] == pytest.approx(auc(odds, judged.correct[rows]), abs=1e-3)
    assert sum(limit.startswith("Fine-tuned, it is ") for limit in card["limits"]) == 2
    train([scored], settings, "planted", tmp_path / "model", seed=0)
    about = load_model(tmp_path / "model")[1]
    assert about["start"] == known["start"]
    assert "## Beside the start" in (tmp_path / "model" / "card.md").read_text()
    other = settings.model_copy(update={"image_size": 24})
    with pytest.raises(InputError, match=r"classifier: it has learned from images of 16 pixels a side, these have 24"):
        classified(folder, tmp_path, settings=other)


def test_a_model_on_features_is_kept_for_others_too(folder: Path, tmp_path: Path) -> None:
    classified(folder, tmp_path)
    model, about = load_model(tmp_path / "classifier")
    assert about["kind"] == "logistic"
    save_model(tmp_path / "again", model, about)
    given = Classify(model="given")
    classified(folder, tmp_path / "given", settings=given, model=tmp_path / "classifier")
    assert len(pq.read_table(tmp_path / "given" / "probability.parquet")) == 600
