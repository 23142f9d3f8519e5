"""Laws of PSSTCallback: parity with loops written by hand, restoring, resuming, refusing."""

import inspect

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from by_hand import Told
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.strategies import FSDPStrategy
from torch import nn
from two_tasks import TwoTasks, largest_difference, loader, trainer

from psst.callbacks import PSSTCallback
from psst.callbacks.pareto_step import _agree, _to_host
from psst.pareto import Decision, FixedWeights, Method, Tradeoff


def fit(module, callback=None, ckpt_path=None, n_batches=6, **settings):
    run = trainer(callback, **settings)
    run.fit(module, loader(n_batches), ckpt_path=ckpt_path)
    return module


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"accumulate_grad_batches": 3},
        {"gradient_clip_val": 0.05},
        {"gradient_clip_val": 0.05, "accumulate_grad_batches": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("shared_forward", [False, True])
def test_fixed_weights_equal_a_weighted_sum(shared_forward, settings):
    """The reference holds linear terms whose gradients are those of two plain sums of the same losses."""
    by_hand = TrunkWeighted(shared_forward=shared_forward)
    ours = TwoTasks(shared_forward=shared_forward)
    fit(by_hand, **settings)
    fit(ours, PSSTCallback(FixedWeights(0.6)), **settings)
    assert largest_difference(by_hand, ours) < 2e-6
    assert largest_difference(TwoTasks(), ours) > 1e-3  # it did train


class TrunkWeighted(TwoTasks):
    """Weights 1 / 1.6 and 0.6 / 1.6 on the trunk, written with two plain sums."""

    share = (1 / 1.6, 0.6 / 1.6)

    def training_step(self, batch, batch_idx):
        output = super().training_step(batch, batch_idx)
        weighted = sum(w * loss for w, loss in zip(self.share, output["losses"].values(), strict=True))
        trunk = [*self.inner.parameters(), *self.norm.parameters(), *self.outer.parameters()]
        heads = list(self.heads.parameters())
        on_trunk = torch.autograd.grad(weighted, trunk, retain_graph=True)
        on_heads = torch.autograd.grad(output["loss"], heads)
        pairs = zip([*trunk, *heads], [*on_trunk, *on_heads], strict=True)
        return sum((parameter * gradient.detach()).sum() for parameter, gradient in pairs)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_all_weight_on_main_is_the_main_only_run(optimizer):
    """Parameters and BatchNorm buffers of the trunk and the main head, to float error: here bit for bit."""
    adam = optimizer == "adam"
    plain = fit(MainOnly(names=("main",), adam=adam), max_epochs=5)
    ours = fit(TwoTasks(adam=adam), PSSTCallback(FixedWeights(0.0)), max_epochs=5)
    tradeoff = fit(TwoTasks(adam=adam), PSSTCallback(tradeoff=0.0), max_epochs=5)
    for other in (ours, tradeoff):
        state = other.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in plain.state_dict().items())
        assert int(state["norm.num_batches_tracked"]) == 30
    untrained = TwoTasks().heads["other"].weight
    assert not torch.equal(ours.heads["other"].weight, untrained)  # by its own gradient, features as they are


class MainOnly(TwoTasks):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx)["losses"]["main"]


def test_three_tasks_and_main_is_put_first():
    class Recording(FixedWeights):
        needs_gramian = True
        seen = None

        def decide(self, state):
            type(self).seen = state
            return super().decide(state)

    names = ("a", "main", "b")
    callback = PSSTCallback(Recording([0.5, 0.0]))
    fit(TwoTasks(names=names), callback)
    assert np.allclose(callback.mean_weights, [2 / 3, 1 / 3, 0])
    assert Recording.seen.gramian.shape == (3, 3)
    assert Recording.seen.gramian.dtype == np.float64
    assert np.linalg.eigvalsh(Recording.seen.gramian).min() > 0
    assert callback.state_dict()["task_names"] == ["main", "a", "b"]


def test_frozen_and_unused_parameters_get_no_gradient():
    module = TwoTasks()
    module.inner.requires_grad_(False)
    module.spare = nn.Linear(2, 2)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    fit(module, PSSTCallback(FixedWeights(1.0)))
    assert module.spare.weight.grad is None
    for key in ("inner.weight", "spare.weight"):
        assert torch.equal(before[key], module.state_dict()[key])
    assert not torch.equal(before["outer.weight"], module.outer.weight)


def test_training_step_is_wrapped_in_a_fit_only_and_shows_its_signature():
    module, seen = TwoTasks(), []

    class Spy(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            seen.append(pl_module.training_step)

    run = trainer(PSSTCallback(FixedWeights(1.0)))
    run.callbacks.append(Spy())
    run.fit(module, loader())
    assert list(inspect.signature(seen[0]).parameters) == ["batch", "batch_idx"]
    assert "training_step" not in module.__dict__
    assert module.training_step.__func__ is TwoTasks.training_step


@pytest.mark.parametrize("name", ["main", "other"])
def test_nan_in_a_loss_stops_before_the_update_and_names_task_and_step(name):
    class Broken(TwoTasks):
        def training_step(self, batch, batch_idx):
            output = super().training_step(batch, batch_idx)
            if batch_idx == 3:
                output["losses"][name] = output["losses"][name] * torch.nan
            return output

    module = Broken()
    with pytest.raises(ValueError, match=rf"`losses\['{name}'\]` is nan at step 3"):
        fit(module, PSSTCallback(FixedWeights(1.0)))
    assert "training_step" not in module.__dict__
    assert all(p.isfinite().all() for p in module.parameters())


def test_a_zero_gramian_is_counted_and_training_goes_on():
    class Flat(TwoTasks):
        def training_step(self, batch, batch_idx):
            losses = super().training_step(batch, batch_idx)["losses"]
            if batch_idx == 2:
                losses = {name: 0.0 * loss for name, loss in losses.items()}
            return {"loss": sum(losses.values()), "losses": losses}

    callback = PSSTCallback("min_norm")
    fit(Flat(), callback)
    assert callback.skipped == 1
    assert len(callback._rows()[0]) == 6


def test_trajectory_has_one_point_an_optimizer_step():
    callback = PSSTCallback(FixedWeights(1.0), ema=0.0)
    fit(TwoTasks(), callback, accumulate_grad_batches=2)
    trajectory = callback.trajectory
    assert trajectory.log_losses.shape == (3, 2)
    assert trajectory.first_step == 0
    assert np.allclose(trajectory.weights, 0.5)


def test_values_are_logged_by_task_name():
    run = trainer(PSSTCallback(Told()))
    run.fit(TwoTasks(), loader())
    names = {
        f"psst/{key}/{task}" for key in ("weight", "loss", "error", "tilt") for task in ("main", "other")
    }
    names |= {f"psst/{key}/{task}_epoch" for key in ("weight", "loss") for task in ("main", "other")}
    assert names | {"psst/kkt_gap", "psst/in_sector", "psst/skipped"} <= set(run.logged_metrics)
    assert run.logged_metrics["psst/weight/main"] + run.logged_metrics["psst/weight/other"] == pytest.approx(
        1
    )


def test_a_resumed_run_ends_where_the_uninterrupted_one_does(tmp_path):
    def callback():
        return PSSTCallback(tradeoff=0.2)

    whole = fit(TwoTasks(), callback(), max_epochs=4)
    run = trainer(callback(), max_epochs=2)
    run.fit(TwoTasks(), loader())
    run.save_checkpoint(tmp_path / "half.ckpt")
    torch.load(tmp_path / "half.ckpt", weights_only=True)
    second = callback()
    resumed = fit(TwoTasks(), second, ckpt_path=tmp_path / "half.ckpt", max_epochs=4, n_batches=6)
    assert largest_difference(whole, resumed) == 0.0
    assert second.trajectory.first_step == 12
    assert len(second.trajectory.log_losses) == 12


def test_a_resumed_fit_can_be_made_one_with_the_first(tmp_path):
    whole, first, second = (PSSTCallback(tradeoff=0.2) for _ in range(3))
    fit(TwoTasks(), whole, max_epochs=2)
    run = trainer(first, max_epochs=1)
    run.fit(TwoTasks(), loader())
    run.save_checkpoint(tmp_path / "half.ckpt")
    state = first.fit_state()

    class Continues(pl.Callback):
        def on_load_checkpoint(self, trainer, pl_module, checkpoint):
            second.continue_fit(state)

    run = trainer(second, max_epochs=2)
    run.callbacks.append(Continues())
    run.fit(TwoTasks(), loader(), ckpt_path=tmp_path / "half.ckpt")
    assert second.trajectory.first_step == 0
    assert np.array_equal(second.trajectory.log_losses, whole.trajectory.log_losses)
    assert np.array_equal(second.mean_weights, whole.mean_weights)


@pytest.mark.parametrize("method", ["tradeoff", "min_norm"])
def test_a_batch_without_any_task_moves_nothing(method):
    class Empty(TwoTasks):
        task_names = ("main", "other")

        def training_step(self, batch, batch_idx):
            return {"losses": {}} if batch_idx == 2 else super().training_step(batch, batch_idx)

    class Fewer(TwoTasks):
        def training_step(self, batch, batch_idx):
            return None if batch_idx == 2 else super().training_step(batch, batch_idx)

    assert largest_difference(fit(Empty(), PSSTCallback(method)), fit(Fewer(), PSSTCallback(method))) < 1e-6


def test_another_method_takes_over_the_averaged_losses_but_no_state(tmp_path):
    first = PSSTCallback(tradeoff=0.2, ema=0.999)
    run = trainer(first)
    run.fit(TwoTasks(), loader())
    run.save_checkpoint(tmp_path / "warm.ckpt")
    second = PSSTCallback(FixedWeights(0.1), ema=0.999)
    fit(TwoTasks(), second, ckpt_path=tmp_path / "warm.ckpt", max_epochs=2)
    assert second.state_dict()["ema"]["steps"] == [12.0, 12.0]  # of both, no fresh start
    assert len(second.trajectory.log_losses) == 6
    assert np.allclose(second.mean_weights, [1 / 1.1, 0.1 / 1.1])


def test_a_checkpoint_of_other_tasks_is_refused(tmp_path):
    run = trainer(PSSTCallback(FixedWeights(1.0)))
    run.fit(TwoTasks(), loader())
    checkpoint = run._checkpoint_connector.dump_checkpoint()
    callback = PSSTCallback(FixedWeights(1.0))
    callback.load_state_dict(checkpoint["callbacks"]["PSSTCallback"])
    callback._begin(run, TwoTasks())
    with pytest.raises(ValueError, match=r"\['main', 'other'\], found \['main', 'else'\]"):
        callback._start(("main", "else"))


def test_tradeoff_and_method_exclude_each_other_and_have_ranges():
    with pytest.raises(ValueError, match=r"`tradeoff.*1\.5"):
        PSSTCallback(tradeoff=1.5)
    with pytest.raises(ValueError, match="`method` and `tradeoff`"):
        PSSTCallback(FixedWeights(1.0), tradeoff=0.5)
    with pytest.raises(ValueError, match=r"`ema`.*1\.0"):
        PSSTCallback(ema=1.0)
    assert isinstance(PSSTCallback().method, Tradeoff)


class Manual(TwoTasks):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False


class NoLosses(TwoTasks):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx)["loss"]


class NotScalar(TwoTasks):
    def training_step(self, batch, batch_idx):
        output = super().training_step(batch, batch_idx)
        return {**output, "losses": {**output["losses"], "other": torch.ones(2)}}


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (Manual, TypeError, "`automatic_optimization = False`"),
        (
            NoLosses,
            TypeError,
            r"reads `losses`, which `training_step` of NoLosses lacks \(it gave a Tensor\)",
        ),
        (NotScalar, TypeError, r"`losses\['other'\]`.*shape \[2\]"),
        (lambda: TwoTasks(names=("main",)), ValueError, r"at least two tasks.*\['main'\]"),
        (lambda: torch.compile(TwoTasks(), backend="eager"), TypeError, "compile the backbone"),
    ],
)
def test_refusals_name_the_cause_and_the_way_out(module, error, message):
    with pytest.raises(error, match=message):
        fit(module(), PSSTCallback(FixedWeights(1.0)))


def test_sharding_strategies_are_refused():
    run = trainer()
    run.strategy  # noqa: B018 - it raises
    run._accelerator_connector.strategy = FSDPStrategy()
    with pytest.raises(TypeError, match=r"FSDPStrategy.*use `ddp`"):
        PSSTCallback(FixedWeights(1.0)).setup(run, TwoTasks(), "fit")


def test_task_names_of_the_module_are_checked_before_the_first_batch():
    class Named(TwoTasks):
        task_names = ("main", "other")

        def training_step(self, batch, batch_idx):
            raise AssertionError("too late")

    with pytest.raises(ValueError, match="2 weights for 1 auxiliary"):
        fit(Named(), PSSTCallback(FixedWeights([1.0, 2.0])))


def test_a_step_without_output_is_skipped():
    class Skips(TwoTasks):
        def training_step(self, batch, batch_idx):
            return None if batch_idx == 1 else super().training_step(batch, batch_idx)

    callback = PSSTCallback(FixedWeights(1.0))
    fit(Skips(), callback)
    assert len(callback.trajectory.log_losses) == 5


def test_losses_without_a_shared_parameter_are_warned_about():
    class Apart(TwoTasks):
        def features(self, x, name):
            return super().features(x, name).detach()

    callback = PSSTCallback("min_norm")
    with pytest.warns(UserWarning, match="share no trainable parameter"):
        fit(Apart(), callback)
    assert callback.skipped == 6


def test_loss_scaling_rescues_gradients_that_vanish_in_half_precision():
    """Gradients of about 1e-8 are below the range of half precision: without the scale all would be zero."""

    class Tiny(TwoTasks):
        def training_step(self, batch, batch_idx):
            losses = super().training_step(batch, batch_idx)["losses"]
            losses = {name: 1e-7 * loss for name, loss in losses.items()}
            return {"loss": sum(losses.values()), "losses": losses}

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1e6)

    full = fit(Tiny(), PSSTCallback(FixedWeights(1.0)))
    scaler = torch.amp.GradScaler("cpu")
    run = trainer(PSSTCallback(FixedWeights(1.0)), plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    half = Tiny()
    run.fit(half, loader())
    moved = largest_difference(Tiny(), full)
    assert moved > 1e-2
    assert largest_difference(full, half) < 0.02 * moved


class Untrustworthy(Method):
    """A method that answers NaN."""

    def start(self, n_tasks):
        self.n_tasks = n_tasks

    def decide(self, state):
        return Decision(np.full(self.n_tasks, np.nan), 0.0)


def test_weights_that_are_not_finite_are_not_used():
    callback, module = PSSTCallback(Untrustworthy()), TwoTasks()
    fit(module, callback)
    assert callback.skipped == 6
    assert all(p.isfinite().all() for p in module.parameters())


def test_an_optimizer_that_compares_losses_is_refused():
    class Searching(TwoTasks):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters())

        def training_step(self, batch, batch_idx):
            raise AssertionError("too late")

    with pytest.raises(TypeError, match=r"LBFGS runs it several times.*Adam or SGD"):
        fit(Searching(), PSSTCallback(FixedWeights(1.0)))


class Signed(TwoTasks):
    """The other loss is below zero, as a log likelihood may be."""

    def loss(self, x, name):
        return super().loss(x, name) - (5.0 if name == "other" else 0.0)


def test_losses_of_any_sign_train_with_methods_that_need_no_ratios():
    """A constant added to a loss changes no gradient, and so nothing but the missing logarithm."""
    callback = PSSTCallback(FixedWeights(0.6))
    assert (
        largest_difference(fit(TwoTasks(), PSSTCallback(FixedWeights(0.6))), fit(Signed(), callback)) < 1e-6
    )
    assert np.allclose(callback.mean_weights, [1 / 1.6, 0.6 / 1.6])
    with pytest.raises(ValueError, match=r"`losses\['other'\]` was not positive in the mean.*add a constant"):
        callback.trajectory  # noqa: B018 - it raises


def test_before_a_fit_there_is_nothing_to_tell():
    callback = PSSTCallback(tradeoff=0.5)
    assert not len(callback.mean_weights)
    callback.setup(trainer(), TwoTasks(), "test")
    assert callback.state_dict()["task_names"] is None


def test_a_wrapper_of_the_users_own_comes_back():
    module = TwoTasks()
    own, calls = module.training_step, []
    module.training_step = lambda batch, batch_idx: (calls.append(batch_idx), own(batch, batch_idx))[1]
    kept = module.training_step
    fit(module, PSSTCallback(FixedWeights(1.0)))
    assert calls == list(range(6))
    assert module.training_step is kept


def test_a_callback_handed_to_a_fresh_trainer_forgets_the_first_fit():
    callback = PSSTCallback(tradeoff=0.2)
    fit(TwoTasks(), callback)
    second, other = fit(TwoTasks(), callback), fit(TwoTasks(), PSSTCallback(tradeoff=0.2))
    assert largest_difference(second, other) == 0.0


def test_validation_by_the_training_step_is_left_alone():
    class Validates(TwoTasks):
        def validation_step(self, batch, batch_idx):
            assert not self.training_step(batch, batch_idx)["loss"].requires_grad

    callback = PSSTCallback(FixedWeights(1.0))
    run = trainer(callback)
    run.fit(Validates(), loader(), loader(2))
    assert len(callback.trajectory.log_losses) == 6


def test_values_are_averaged_over_ranks(tmp_path):
    """One process that says it is two: the sum over ranks, divided by their number."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        one, two = _to_host([torch.tensor([2.0, 4.0]), torch.eye(2, dtype=torch.float64)], world_size=2)
        reached = [{0, 2}, {1}]
        _agree(reached, 3, torch.device("cpu"))
    finally:
        torch.distributed.destroy_process_group()
    assert reached == [{0, 2}, {1}]
    assert one.tolist() == [1.0, 2.0]
    assert two.tolist() == [[0.5, 0.0], [0.0, 0.5]]
