"""Each balancer steers a real fit, alone and from YAML."""

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from psst.balancers import TorchJD
from psst.callbacks import PSSTCallback
from psst.cli import main
from tests.balancers.cases import OPTIONS, every_name
from tests.callbacks.two_tasks import TwoTasks, largest_difference, loader, trainer

NAMES = ("main", "second", "third")


def fitted(method, **settings):
    module, callback = TwoTasks(names=NAMES), PSSTCallback(method=method)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        trainer(callback, **settings).fit(module, loader(n_batches=3))
    return module, callback


@every_name
def test_a_fit_goes_through_and_moves_every_parameter(name):
    module, callback = fitted(TorchJD(name, OPTIONS[name], epoch_steps=1), max_epochs=2)
    assert callback.skipped == 0
    assert np.isfinite(callback.mean_weights).all()
    fresh = dict(TwoTasks(names=NAMES).named_parameters())
    for key, parameter in module.named_parameters():
        assert torch.isfinite(parameter).all()
        if key != "inner.bias":  # batch normalization takes it away again
            assert not torch.equal(parameter, fresh[key]), key


def test_the_mean_is_the_plain_average_of_the_losses():
    module, _ = fitted(TorchJD("Mean"))
    expected, _ = fitted(TorchJD("Constant", {"weights": [2.0, 2.0, 2.0]}))
    assert largest_difference(module, expected) == 0.0


def test_not_normalized_weights_reach_the_optimizer_as_they_are():
    three, _ = fitted(TorchJD("Sum", normalize=False))
    one, _ = fitted(TorchJD("Constant", {"weights": [1.0, 1.0, 1.0]}, normalize=False))
    mean, _ = fitted(TorchJD("Mean"))
    assert largest_difference(three, one) == 0.0
    assert largest_difference(three, mean) > 1e-3


@pytest.mark.parametrize("name", ["UW", "FAMO", "GradVac", "PCGrad"])
def test_a_resumed_fit_ends_as_the_whole_one(name, tmp_path):
    def begun(**settings):
        method = TorchJD(name, OPTIONS[name], learning_rate=0.1)
        callback = PSSTCallback(method=method)
        return TwoTasks(names=NAMES), trainer(callback, default_root_dir=tmp_path, **settings)

    whole, steps = begun(max_epochs=2)
    steps.fit(whole, loader(n_batches=3))
    first, steps = begun(max_epochs=1)
    steps.fit(first, loader(n_batches=3))
    steps.save_checkpoint(tmp_path / "half.ckpt")
    second, steps = begun(max_epochs=2)
    steps.fit(second, loader(n_batches=3), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert largest_difference(second, whole) == 0.0


class Negative(TwoTasks):
    def loss(self, x, name):
        return super().loss(x, name) - 5.0


def test_negative_losses_are_no_trouble_where_no_ratio_is_asked_for():
    module, callback = Negative(names=NAMES), PSSTCallback(method=TorchJD("UPGrad"))
    trainer(callback).fit(module, loader(n_batches=3))
    expected, _ = fitted(TorchJD("UPGrad"))
    assert largest_difference(module, expected) < 1e-5  # a constant has no gradient; float32 sums differ


FIT = [
    "fit",
    "--config=quickstart",
    "--trainer.max_steps=3",
    "--trainer.log_every_n_steps=1",
    "--trainer.accelerator=cpu",
    "--trainer.limit_val_batches=0",
    "--data.init_args.episodes.way=3",
    "--data.init_args.episodes.query=1",
    "--model.init_args.backbone.init_args.hidden=4",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The letters are drawn once."""
    return f"--data.init_args.cache_dir={tmp_path_factory.mktemp('letters')}"


@pytest.mark.parametrize(
    "method",
    [
        "{name: UPGrad, options: {pref_vector: [0.7, 0.3]}}",
        "{name: UW, learning_rate: 0.1}",
        "{name: ConFIG, normalize: false}",
        "{name: CRMOGM, options: {weighting: {name: PCGrad}, alpha: 0.5}, seed: 3}",
        "{name: STCH, options: {mu: 0.1, weights: [0.5, 0.5]}}",
    ],
)
def test_one_key_of_the_yaml_chooses_the_balancer(method, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    balancer = f"{{class_path: psst.balancers.TorchJD, init_args: {method}}}"
    callback = (
        f"[{{class_path: psst.callbacks.PSSTCallback, init_args: {{tradeoff: null, method: {balancer}}}}}]"
    )
    log = "{class_path: pytorch_lightning.loggers.CSVLogger, init_args: {save_dir: log}}"
    assert main([*FIT, data, "--trainer.callbacks", callback, "--trainer.logger", log]) == 0
    (file,) = Path("log").rglob("metrics.csv")
    rows = [row for row in csv.DictReader(file.read_text().splitlines()) if row["psst/weight/main"]]
    weights = [[float(row["psst/weight/main"]), float(row["psst/weight/rotation"])] for row in rows]
    assert len(weights) == 3
    assert np.isfinite(weights).all()
    if "normalize" not in method:
        np.testing.assert_allclose(np.abs(weights).sum(axis=1), 1.0, rtol=1e-6)


def test_a_wrong_name_is_one_clear_paragraph(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    method = "{class_path: psst.balancers.TorchJD, init_args: {name: UpGrad}}"
    callback = (
        f"[{{class_path: psst.callbacks.PSSTCallback, init_args: {{tradeoff: null, method: {method}}}}}]"
    )
    assert main([*FIT, "--trainer.callbacks", callback]) == 2
    error = capsys.readouterr().err
    assert "`name=UpGrad`" in error
    assert "UPGrad" in error
