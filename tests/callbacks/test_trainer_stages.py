"""Validation, tests, predictions, limits, hooks and tuners beside PSSTCallback."""

import pytest
import pytorch_lightning as pl
import torch
from by_hand import ROUNDING, HandLoop, Smooth, assert_parity, assert_same_run, fit
from pytorch_lightning.callbacks import LearningRateMonitor, Timer
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.tuner import Tuner
from two_tasks import TwoTasks, largest_difference, loader, trainer

from psst.callbacks import PSSTCallback


class Validated(TwoTasks):
    """Evaluation by a plain forward in evaluation mode; `modes` lists what it met."""

    def __init__(self):
        super().__init__()
        self.modes = []

    def validation_step(self, batch, batch_idx):
        self.modes.append((self.training, torch.is_grad_enabled()))
        self.log("val_loss", self.loss(self.outer(self.norm(self.inner(batch[0])).relu()), "main"))

    test_step = validation_step

    def predict_step(self, batch, batch_idx):
        return self.outer(self.norm(self.inner(batch[0])).relu())


class Reused(Validated):
    """Validation by ``training_step`` itself, in evaluation mode."""

    def validation_step(self, batch, batch_idx):
        output = self.training_step(batch, batch_idx)
        assert not output["loss"].requires_grad
        self.modes.append((self.training, torch.is_grad_enabled()))
        self.log("val_loss", output["loss"])


@pytest.mark.parametrize("make", [Validated, Reused])
def test_validation_in_mid_epoch_leaves_training_as_it_is(make):
    """Parameters, buffers, weights and averages are those of the loop by hand, which never validates."""
    run, ours = assert_parity(
        make,
        reference=TwoTasks,
        validation=loader(2),
        val_check_interval=2,
        num_sanity_val_steps=1,
    )
    assert ours.modes == [(False, False)] * (1 + 2 * 3 * 2)
    assert "val_loss" in run.logged_metrics


def test_test_validate_and_predict_do_not_meet_the_callback():
    module, method = Validated(), Smooth()
    run = trainer(PSSTCallback(method), max_epochs=1)
    run.fit(module, loader())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    tested = run.test(module, loader(2), verbose=False)
    validated = run.validate(module, loader(2), verbose=False)
    predicted = run.predict(module, loader(2))
    assert len(method.decided) == 6
    assert "training_step" not in module.__dict__
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    plain = Validated()
    plain.load_state_dict(before)
    bare = trainer()
    assert bare.test(plain, loader(2), verbose=False) == tested
    assert bare.validate(plain, loader(2), verbose=False) == validated
    assert all(torch.equal(a, b) for a, b in zip(bare.predict(plain, loader(2)), predicted, strict=True))


@pytest.mark.parametrize(
    ("settings", "n_batches", "n_epochs"),
    [
        ({"limit_train_batches": 4}, 4, 2),
        ({"limit_train_batches": 0.5}, 3, 2),
        ({"overfit_batches": 2}, 2, 2),
        ({"fast_dev_run": 3}, 3, 1),
        ({"detect_anomaly": True}, 6, 2),
        ({"barebones": True, "logger": None, "enable_checkpointing": None, "log_every_n_steps": None}, 6, 2),
        ({"profiler": "simple"}, 6, 2),
        ({"max_steps": 4}, 4, 1),
        ({"log_every_n_steps": 0}, 6, 2),
        ({"deterministic": True}, 6, 2),
        ({"inference_mode": False, "num_sanity_val_steps": 2}, 6, 2),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")  # what Lightning says about each of them
def test_settings_of_the_trainer(settings, n_batches, n_epochs):
    loop, module, method = HandLoop(Smooth()), Validated(), Smooth()
    expected = loop.fit(TwoTasks(), list(loader())[:n_batches], n_epochs)
    run = fit(module, PSSTCallback(method), **{"max_epochs": n_epochs, **settings})
    assert run.global_step == n_batches * n_epochs
    assert_same_run(method, loop.method)
    assert largest_difference(expected, module) < ROUNDING


def test_an_anomaly_is_found_in_the_pass_of_its_task():
    """A gradient that is not a number under a loss that is one."""

    class Anomalous(TwoTasks):
        def loss(self, x, name):
            loss = super().loss(x, name)
            return loss + 0.0 * (x[0, 0] * 0.0).sqrt() if name == "other" else loss

    module = Anomalous()
    with pytest.raises(RuntimeError, match="SqrtBackward"):
        fit(module, PSSTCallback(Smooth()), detect_anomaly=True)
    assert "training_step" not in module.__dict__


@pytest.mark.parametrize("accumulate", [1, 2])
def test_hooks_see_the_mixture_once(accumulate):
    """A hook on a parameter's gradient and the Trainer's own hooks act on what the optimizer gets."""
    seen = {"before": 0, "after": 0, "step": 0}

    class Counting(pl.Callback):
        def on_before_backward(self, trainer, pl_module, loss):
            seen["before"] += 1
            assert loss.requires_grad

        def on_after_backward(self, trainer, pl_module):
            seen["after"] += 1

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            seen["step"] += 1
            for parameter in pl_module.heads.parameters():
                parameter.grad.mul_(0.5)

    class Halved(TwoTasks):
        """The loop by hand: half the gradient of the heads."""

        def configure_optimizers(self):
            groups = [{"params": list(self.heads.parameters()), "lr": 0.05}]
            groups.append({"params": [p for n, p in self.named_parameters() if not n.startswith("heads")]})
            return torch.optim.SGD(groups, lr=0.1, momentum=0.9)

    loop, module, method = HandLoop(Smooth(), accumulate=accumulate), TwoTasks(), Smooth()
    expected = loop.fit(Halved(), list(loader()))
    fit(module, PSSTCallback(method), Counting(), accumulate_grad_batches=accumulate)
    assert seen == {"before": 6, "after": 6, "step": 6 // accumulate}
    assert_same_run(method, loop.method)
    assert largest_difference(expected, module) < ROUNDING


def test_a_hook_on_a_parameter_acts_once():
    """It belongs to the gradient that is accumulated, not to the task gradients before it."""
    loop, method = HandLoop(Smooth()), Smooth()
    expected = loop.fit(TwoTasks(), list(loader()))
    module, calls = TwoTasks(), []
    module.outer.weight.register_hook(lambda gradient: calls.append(1))
    module.outer.weight.register_post_accumulate_grad_hook(lambda parameter: calls.append(2))
    fit(module, PSSTCallback(method))
    assert largest_difference(expected, module) < ROUNDING
    assert sorted(calls) == [1] * 6 + [2] * 6


def test_monitors_and_loggers(tmp_path):
    logger = CSVLogger(tmp_path)
    fit(TwoTasks(), PSSTCallback(Smooth()), LearningRateMonitor(), Timer(), logger=logger)
    logger.save()
    header = (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").read_text().splitlines()[0]
    assert {"psst/weight/main", "psst/loss/other", "psst/skipped", "lr-SGD"} <= set(header.split(","))


class Tuned(Validated):
    def __init__(self):
        super().__init__()
        self.lr = 0.1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


@pytest.mark.filterwarnings("ignore")
def test_the_learning_rate_finder_leaves_no_trace(tmp_path):
    """It trains, then puts everything back: a fit after it equals a fit without it."""
    method, loop = Smooth(), HandLoop(Smooth())
    expected = loop.fit(Tuned(), list(loader()))
    module = Tuned()
    run = trainer(PSSTCallback(method), default_root_dir=tmp_path)
    found = Tuner(run).lr_find(module, loader(), num_training=12, update_attr=False)
    assert len(found.results["loss"]) > 5
    assert "training_step" not in module.__dict__
    n_before = len(method.decided)
    run.fit(module, loader())
    method.decided, method.states = method.decided[n_before:], method.states[n_before:]
    assert_same_run(method, loop.method)
    assert largest_difference(expected, module) < ROUNDING
