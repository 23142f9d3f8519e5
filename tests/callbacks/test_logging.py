"""What a step logs, to any logger, with one transfer from the device and no other."""

import functools

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from by_hand import Told
from pytorch_lightning.loggers import CSVLogger
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from trunked import Trunked
from two_tasks import TwoTasks, loader, trainer

from psst.callbacks import PSSTCallback
from psst.callbacks.certificates import numbers, told_by
from psst.pareto import Decision, FixedWeights, Method

NAMES = ("main", "a", "b")


def report(**certificates):
    decision = Decision(np.array([0.5, 0.25, 0.25]), 0.125, certificates)
    values = {"loss": np.arange(3.0), "weight": decision.weights, "skipped": 4.0}
    return numbers(NAMES, {**values, **told_by(decision)})


@pytest.mark.parametrize(
    ("certificates", "phase"),
    [
        ({}, 0),
        ({"in_sector": 1.0, "unreachable": 0.0}, 1),
        ({"in_sector": 0.0, "unreachable": 0.0}, 2),
        ({"in_sector": 0.0, "unreachable": 1.0}, 3),
        ({"in_sector": 1.0, "unreachable": 1.0}, 3),
    ],
)
def test_the_phase_is_a_number(certificates, phase):
    assert report(**certificates)["psst/phase"] == phase


def test_what_is_undefined_is_left_out():
    found = report(tilt=np.array([1.0, -1.0, np.nan]), distance=2.0)
    assert found["psst/tilt/a"] == -1.0
    assert "psst/tilt/b" not in found
    assert found["psst/distance"] == 2.0
    assert found["psst/skipped"] == 4.0


def test_a_logger_gets_every_certificate(tmp_path):
    logger = CSVLogger(tmp_path)
    run = trainer(
        PSSTCallback(Told()),
        logger=logger,
        max_epochs=20,
        log_every_n_steps=5,
    )
    run.fit(TwoTasks(), loader())
    logger.save()
    header = (
        (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").read_text().splitlines()[0].split(",")
    )
    by_task = {
        f"psst/{key}/{task}" for key in ("loss", "weight", "tilt", "error") for task in ("main", "other")
    }
    scalars = {"kkt_gap", "skipped", "phase", "in_sector", "distance"}
    assert by_task | {f"psst/{key}" for key in scalars} <= set(header)


class Functions(TorchFunctionMode):
    """Calls by which numbers leave a device, from any Python code."""

    leaving = ("cpu", "numpy", "item", "tolist", "__float__", "__int__", "__bool__", "__array__")

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in self.leaving:
            self.calls.append(func.__name__)
        return func(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.scalars = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.scalars += func._overloadpacket is torch.ops.aten._local_scalar_dense
        return func(*args, **(kwargs or {}))


class Counter(pl.Callback):
    """Watches ``training_step`` as wrapped by PSSTCallback."""

    def __init__(self):
        self.calls, self.scalars = [], []

    def on_fit_start(self, trainer, pl_module):
        wrapped = pl_module.training_step

        @functools.wraps(wrapped)
        def watched(*args, **kwargs):
            with Functions() as functions, Operators() as operators:
                output = wrapped(*args, **kwargs)
            self.calls.append(functions.calls)
            self.scalars.append(operators.scalars)
            return output

        pl_module.training_step = watched


@pytest.mark.parametrize("method", ["tradeoff", "min_norm"])
@pytest.mark.parametrize("scope", ["parameters", "last_block"])
def test_a_step_that_logs_makes_one_transfer(scope, method):
    counter = Counter()
    run = trainer(PSSTCallback(method, scope=scope))
    run.callbacks.append(counter)
    run.fit(Trunked(names=NAMES), loader())
    assert counter.calls == [["cpu", "numpy"]] * 6
    assert counter.scalars == [0] * 6


def test_a_window_makes_one_transfer_for_all_its_batches():
    counter = Counter()
    run = trainer(PSSTCallback("min_norm", accumulate="window"), accumulate_grad_batches=3)
    run.callbacks.append(counter)
    run.fit(Trunked(functions=True), loader())
    assert counter.calls == [[], [], ["cpu", "numpy"]] * 2


def test_logged_numbers_are_the_methods_own():
    class Own(Method):
        def start(self, n_tasks):
            pass

        def decide(self, state):
            return Decision(np.array([0.75, 0.25]), 1e-3, {"tilt": np.array([0.5, -0.5]), "distance": 3.0})

    run = trainer(PSSTCallback(Own()))
    run.fit(TwoTasks(), loader())
    found = {key: float(value) for key, value in run.logged_metrics.items()}
    assert found["psst/weight/main"] == 0.75
    assert found["psst/tilt/other"] == -0.5
    assert found["psst/distance"] == 3.0
    assert found["psst/kkt_gap"] == pytest.approx(1e-3)
    assert found["psst/phase"] == 0.0


def test_nothing_is_logged_between():
    run = trainer(PSSTCallback(FixedWeights(1.0)), log_every_n_steps=4)
    seen = []

    class Spy(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.append("psst/kkt_gap" in trainer.callback_metrics)

    run.callbacks.append(Spy())
    run.fit(TwoTasks(), loader())
    assert seen.index(True) == 3
