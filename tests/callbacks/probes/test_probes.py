"""Whatever trains under plain backward trains right under the callback, or is refused by name."""

import copy
import logging
import pickle
import warnings

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from odd_modules import BATCHES, PROBES, Base, Hooked, SeparateViews, by_hand
from pytorch_lightning.callbacks import BatchSizeFinder, EarlyStopping, LearningRateFinder
from torch import nn
from torch.utils.data import DataLoader

from psst.callbacks import PSSTCallback
from psst.pareto import Decision, FixedWeights, Method, MinNorm, Preference, RaySet

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Measured(FixedWeights):
    """The same weights by way of the task gradients and their Gramian."""

    needs_gramian = True

    def decide(self, state):
        assert np.isfinite(state.gramian).all()
        return super().decide(state)


def fit(module, *callbacks, data=BATCHES, **settings):
    settings = {"max_epochs": 1, **QUIET, **settings}
    trainer = pl.Trainer(callbacks=list(callbacks), **settings)
    trainer.fit(module, data if isinstance(data, DataLoader) else DataLoader(data, batch_size=None))
    return trainer


def tensors(module):
    found = [p.detach() for group in module.optimizer.param_groups for p in group["params"]]
    return [*found, *module.buffers()]


def farthest(one, other):
    pairs = zip(tensors(one), tensors(other), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("kind", PROBES)
@pytest.mark.parametrize("method", [FixedWeights, Measured])
def test_odd_modules_train_as_by_hand(kind, method):
    expected, ours = by_hand(kind()), kind()
    fit(ours, PSSTCallback(method(0.6)))
    assert farthest(expected, ours) < 2e-6
    untrained = kind()
    untrained.configure_optimizers()
    before, after = untrained.heads["main"].weight, ours.heads["main"].weight
    assert float((before - after).detach().abs().max()) > 1e-2


def test_hooks_on_the_features_act_once_with_the_last_block():
    ours = Hooked()
    fit(ours, PSSTCallback(Measured(0.6), scope="last_block"))
    assert farthest(by_hand(Hooked()), ours) < 2e-6


def test_a_compiled_function_with_trunk_and_heads_is_refused_unless_shared_is_named():
    class Whole(Base):
        def losses(self, x, i):
            return dict(zip(self.names, self.both(x), strict=True))

        def configure_optimizers(self):
            self.both = torch.compile(self.heads_of, backend="aot_eager")
            return super().configure_optimizers()

        def heads_of(self, x):
            features = self.trunk(x)
            return tuple(self.heads[name](features).square().mean() for name in self.names)

    with pytest.raises(ValueError, match=r"One compiled function.*compile the backbone alone.*`shared`"):
        fit(Whole(), PSSTCallback(FixedWeights(0.6)))
    named = Whole()
    fit(named, PSSTCallback(FixedWeights(0.6), shared=["trunk"]))

    class Plain(Whole):
        def losses(self, x, i):
            return dict(zip(self.names, self.heads_of(x), strict=True))

    assert farthest(by_hand(Plain()), named) < 2e-6


def test_second_derivatives_through_the_root_are_refused():
    class Twice(Base):
        def backward(self, loss):
            loss.backward(create_graph=True)

    with pytest.raises(RuntimeError, match=r"`create_graph=True`.*derivatives of the losses themselves"):
        fit(Twice(), PSSTCallback(FixedWeights(0.6)))


class Watched(Method):
    """Keeps the steps it was asked in."""

    def __init__(self):
        self.steps = []

    def start(self, n_tasks):
        self.steps = []

    def decide(self, state):
        self.steps.append(state.step)
        return Decision(np.array([0.7, 0.3]))


@pytest.mark.parametrize("finder", ["rate", "size"])
def test_finders_leave_no_trace(finder):
    class Found(Base):
        lr = 0.1
        batch_size = 2

        def train_dataloader(self):
            return DataLoader(torch.cat(BATCHES), batch_size=8)

        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx)

    finders = {
        "rate": lambda: LearningRateFinder(num_training_steps=5, update_attr=False),
        "size": lambda: BatchSizeFinder(max_trials=2, steps_per_trial=2),
    }
    ray = RaySet.from_losses([[1.0, 1.3], [1.3, 1.0]])
    plain, found = (PSSTCallback(Preference(ray, 0)) for _ in range(2))
    data = DataLoader(torch.cat(BATCHES), batch_size=8)
    fit(Found(), plain, data=data, max_steps=8)
    trainer = pl.Trainer(callbacks=[finders[finder](), found], max_steps=8, max_epochs=1, **QUIET)
    trainer.fit(Found())
    assert found.trajectory.first_step == 0
    assert len(found.trajectory.log_losses) == trainer.global_step
    assert found.method.state_dict()["subproblem"]["watch"]["_count"] == trainer.global_step
    if finder == "rate":
        np.testing.assert_allclose(found.trajectory.log_losses, plain.trajectory.log_losses, atol=1e-5)


def test_a_validation_that_takes_gradients_is_not_counted():
    class Validates(Base):
        def validation_step(self, batch, batch_idx):
            with torch.inference_mode(False), torch.enable_grad():
                assert self.training_step(batch.clone(), batch_idx)["losses"]["main"].requires_grad

    callback, module = PSSTCallback(Watched()), Validates()
    trainer = pl.Trainer(callbacks=[callback], max_epochs=1, inference_mode=False, **QUIET)
    trainer.fit(module, DataLoader(BATCHES, batch_size=None), DataLoader(BATCHES[:2], batch_size=None))
    assert callback.method.steps == list(range(len(BATCHES)))


class TwiceSGD(torch.optim.SGD):
    """Evaluates its closure twice a step, as methods that look ahead do."""

    def step(self, closure=None):
        closure()
        return super().step(closure)


def test_a_closure_called_twice_counts_once():
    class Twice(Base):
        def configure_optimizers(self):
            self.optimizer = TwiceSGD(self.parameters(), lr=0.0)
            return self.optimizer

    class Still(Base):
        def configure_optimizers(self):
            self.optimizer = torch.optim.SGD(self.parameters(), lr=0.0)
            return self.optimizer

    ray = RaySet.from_losses([[1.0, 1.3], [1.3, 1.0]])
    once, twice = (PSSTCallback(Preference(ray, 0)) for _ in range(2))
    fit(Still(), once)
    fit(Twice(), twice)
    np.testing.assert_allclose(once.trajectory.log_losses, twice.trajectory.log_losses)
    assert once.method.state_dict() == twice.method.state_dict()


def test_one_method_handed_to_two_callbacks_is_two_methods():
    method = Watched()
    first, second = PSSTCallback(method), PSSTCallback(method)
    fit(Base(), first)
    fit(Base(), second)
    assert method.steps == []
    assert len(first.method.steps) == len(second.method.steps) == len(BATCHES)
    fit(Base(), first)  # a fresh fit begins fresh
    assert first.method.steps == list(range(len(BATCHES)))


def test_state_goes_only_into_a_method_with_the_same_arguments(tmp_path):
    ray = RaySet.from_losses([[1.0, 1.3], [1.3, 1.0]])
    trainer = fit(Base(), PSSTCallback(Preference(ray, 0)))
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    for index, steps in ((0, 16), (1, 8)):
        callback = PSSTCallback(Preference(ray, index))
        run = pl.Trainer(callbacks=[callback], max_epochs=2, **QUIET)
        run.fit(Base(), DataLoader(BATCHES, batch_size=None), ckpt_path=tmp_path / "half.ckpt")
        assert callback.method.state_dict()["subproblem"]["watch"]["_count"] == steps


def test_the_module_can_be_saved_and_copied_in_mid_fit(tmp_path):
    class Saves(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx == 3:
                pl_module.optimizer = None
                trainer_, pl_module._trainer = pl_module._trainer, None
                self.copied = copy.deepcopy(pl_module)
                self.loaded = pickle.loads(pickle.dumps(pl_module))
                torch.save(pl_module, tmp_path / "module.pt")
                pl_module._trainer = trainer_

    saves, module = Saves(), SeparateViews()
    fit(module, PSSTCallback(FixedWeights(0.6)), saves)
    for other in (saves.copied, saves.loaded, torch.load(tmp_path / "module.pt", weights_only=False)):
        step = other.training_step(BATCHES[0], 0)
        assert step["losses"]["main"].requires_grad  # its own step, not the callback's
        step["loss"].backward()
        assert other.trunk[0][0].weight.grad is not None
        assert other.training_step.__self__ is other


def test_giving_up_and_starving_are_told_once(recwarn):
    class Starving(FixedWeights):
        may_starve = True

    far = RaySet.from_losses([[1.0, 1e6], [1.0, 1.0]])
    for method in (Starving(0.001), Preference(far, 0)):
        fit(Base(), PSSTCallback(method), max_epochs=55)
    told = [str(found.message) for found in recwarn]
    for start in ("`losses['other']` had a weight below 0.02", "The losses came no nearer to their ray"):
        assert sum(message.startswith(start) for message in told) == 1


def test_losses_below_zero_hold_the_last_weights_of_a_ray_with_one_warning(recwarn):
    class Signed(Base):
        def losses(self, x, i):
            return {name: loss - 5.0 for name, loss in super().losses(x, i).items()}

    callback = PSSTCallback(Preference(RaySet.from_losses([[1.0, 2.0]], np.array([[0.8, 0.2]])), 0))
    fit(Signed(), callback)
    np.testing.assert_allclose(callback.mean_weights, [0.8, 0.2])
    assert sum("has no logarithm" in str(found.message) for found in recwarn) == 1


def test_early_stopping_on_a_logged_loss():
    stop = EarlyStopping("psst/loss/main_epoch", min_delta=1e9, patience=2, check_on_train_epoch_end=True)
    trainer = fit(Base(), stop, PSSTCallback(FixedWeights(0.6)), max_epochs=50, log_every_n_steps=1000)
    assert trainer.current_epoch == 3


def test_fixed_weights_are_read_off_an_adaptive_run(caplog):
    callback = PSSTCallback(tradeoff=0.5)
    with caplog.at_level(logging.INFO):
        fit(Base(), callback, max_epochs=4)
    weights = callback._rows()[1][16:].mean(axis=0)
    fixed = callback.as_fixed_weights()
    np.testing.assert_allclose(fixed.auxiliary, weights[1:] / weights[0], rtol=5e-3)
    assert any(f"FixedWeights(auxiliary={fixed.auxiliary})" in r.getMessage() for r in caplog.records)
    with pytest.raises(ValueError, match="run a fit first"):
        PSSTCallback().as_fixed_weights()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "upgrd"}, ValueError, r"`method=upgrd`.*nearest is `upgrad`"),
        ({"method": "preference"}, ValueError, r"`method=preference` needs arguments; make a Preference"),
        ({"method": MinNorm}, TypeError, r"`method` must be.*MinNorm.*make an object"),
        ({"method": 3}, TypeError, r"`method` must be.*got 3"),
        ({"method": nn.Linear(1, 1)}, TypeError, r"`method` must be.*got Linear"),
        ({"tradeoff": "0.3"}, ValueError, r"`tradeoff='0\.3'` must be a number"),
        ({"tradeoff": True}, ValueError, r"`tradeoff=True` must be a number"),
        ({"levels": {}}, ValueError, r"`levels=\{\}` must be a mapping"),
        ({"levels": {"other": "low"}}, ValueError, r"`levels\['other'\]='low'` must be a positive number"),
        ({"levels": {"other": -1.0}}, ValueError, r"`levels\['other'\]=-1\.0` must be a positive number"),
        ({"method": "min_norm", "levels": {"other": 1.0}}, ValueError, r"`method` and `levels` exclude"),
        ({"shared": "trunk"}, ValueError, r"`shared='trunk'` must be a list"),
        ({"shared": [1]}, ValueError, r"`shared=\[1\]` must be a list"),
        ({"ema": "0.9"}, ValueError, r"`ema` must be a number"),
        ({"main": 3}, ValueError, r"`main=3` must be the name"),
    ],
)  # fmt: skip
def test_arguments_of_another_kind_are_refused_at_once(arguments, error, message):
    with pytest.raises(error, match=message):
        PSSTCallback(**arguments)


class Given(Base):
    """Gives whatever it is told to."""

    given = None

    def training_step(self, batch, batch_idx):
        losses = self.losses(batch, batch_idx)
        return {"loss": sum(losses.values()), "losses": self.given(losses)}


@pytest.mark.parametrize(
    ("give", "error", "message"),
    [
        (
            lambda found: list(found.values()),
            TypeError,
            r"reads `losses`, which `training_step` of Given lacks",
        ),
        (lambda found: None, TypeError, r"reads `losses`"),
        (lambda found: {**found, "other": {"deep": found["other"]}}, TypeError, r"found a dict"),
        (lambda found: {**found, "other": 0.5}, TypeError, r"`losses\['other'\]`.*found a float"),
        (lambda found: {**found, "other": torch.ones(3)}, TypeError, r"shape \[3\]; take its mean"),
        (lambda found: {"main": found["main"]}, ValueError, r"at least two tasks.*\['main'\]"),
    ],
)
def test_losses_of_another_kind_are_refused(give, error, message):
    module = Given()
    module.given = give
    with pytest.raises(error, match=message):
        fit(module, PSSTCallback())


def test_what_only_a_fit_can_tell_is_refused_in_it():
    with pytest.raises(RuntimeError, match=r"more than one stateful callback of type `PSSTCallback`"):
        fit(Base(), PSSTCallback(), PSSTCallback())
    with pytest.raises(ValueError, match=r"`levels\['othr'\]` names no task.*one of \['other'\]"):
        fit(Base(), PSSTCallback(levels={"othr": 1.0}))
    with pytest.raises(ValueError, match=r"`levels\['main'\]` names the main task"):
        fit(Base(), PSSTCallback(levels={"main": 1.0}))
    with pytest.raises(ValueError, match=r"`main='third'` must be one of the losses"):
        fit(Base(), PSSTCallback(main="third"))


def test_main_is_named_by_argument_by_name_or_by_place(caplog):
    class Unnamed(Base):
        names = ("first", "second")

    given, found = PSSTCallback(FixedWeights(0.25), main="second"), PSSTCallback(FixedWeights(0.25))
    with caplog.at_level(logging.INFO):
        fit(Unnamed(), given)
        fit(Unnamed(), found)
    assert given.state_dict()["task_names"] == ["second", "first"]
    assert found.state_dict()["task_names"] == ["first", "second"]
    assert sum("takes `first` for the main loss" in r.getMessage() for r in caplog.records) == 1


def test_a_level_is_held_and_an_unreachable_one_is_told_once():
    """A conflict by construction: one score can be the sum of two inputs, or their difference."""

    class Conflict(Base):
        def __init__(self):
            super().__init__()
            self.score = nn.Linear(6, 1, bias=False)

        def losses(self, x, i):
            score = self.score(x)[:, 0]
            return {
                "main": (score - x[:, 0] - x[:, 1]).square().mean(),
                "other": (score - x[:, 0] + x[:, 1]).square().mean() + 0.2,
            }

        def configure_optimizers(self):
            self.optimizer = torch.optim.SGD(self.parameters(), lr=0.02)
            return self.optimizer

    rng = torch.Generator().manual_seed(0)
    data = [torch.randn(64, 6, generator=rng) for _ in range(500)]
    for level in (1.0, 3.0):
        callback = PSSTCallback(levels={"other": level})
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            fit(Conflict(), callback, data=data)
        main, other = np.exp(callback.trajectory.log_losses[-1])
        assert other == pytest.approx(level, rel=0.1)
        best = (2.0 - np.sqrt(level - 0.2)) ** 2  # on the front the distances to both targets add up to 2
        assert main <= 1.15 * best + 0.02
        assert not any("was not reached" in str(found.message) for found in told)
    with pytest.warns(UserWarning, match=r"`levels\['other'\]` was not reached") as told:
        fit(Conflict(), PSSTCallback(levels={"other": 0.05}), data=data)
    assert sum("was not reached" in str(found.message) for found in told) == 1
