"""Losses and BatchNorm statistics of any module on training batches, by its own `training_step`."""

import numpy as np
import pytest
import torch

from psst.search.metric_judge import MetricJudge
from psst.search.python_run import PythonRun
from psst.search.result import Metric
from psst.search.training_pass import training_pass
from tests.search.tasks import Columns, Heads

RUN = PythonRun(Heads, Columns(), 20, trainer={"accelerator": "cpu"})


def judge(run=RUN):
    return MetricJudge(run, Metric("val/error", "min", "val/error"))


def test_all_models_are_measured_on_the_same_batches_and_others_for_another_start():
    state = RUN.module().state_dict()
    losses = judge().fresh_losses({"a": state, "b": state}, 20, 9)  # 9 batches of a loader of 7
    other = judge().fresh_losses({"a": state}, 21, 9)
    assert losses["a"].shape == (9, 2)
    assert np.array_equal(losses["a"], losses["b"])
    assert not np.array_equal(losses["a"], other["a"])


def test_measuring_changes_nothing():
    module = RUN.module()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    training_pass(RUN, module, 0, 3)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_recalibrated_statistics_are_the_mean_over_the_batches():
    """Against the same batches gone through by hand; only the statistics change."""
    module = RUN.module()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    renewed = judge().recalibrated(state, 20, 4)
    seen = []
    probe = RUN.module()
    probe.trunk[0].register_forward_hook(lambda layer, inputs, output: seen.append(output.detach()))
    training_pass(RUN, probe, 20, 4, state)
    mean = torch.stack([batch.mean(dim=0) for batch in seen]).mean(dim=0)
    variance = torch.stack([batch.var(dim=0) for batch in seen]).mean(dim=0)
    torch.testing.assert_close(renewed["trunk.1.running_mean"], mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(renewed["trunk.1.running_var"], variance, rtol=1e-5, atol=1e-6)
    changed = {name for name in state if not torch.equal(state[name], renewed[name])}
    assert all(name.startswith("trunk.1.") for name in changed)


def test_losses_given_as_functions_are_called():
    class Lazy(Heads):
        def training_step(self, batch, batch_idx):
            names = self.names
            return {"losses": {name: lambda name=name: self.losses(batch)[name] for name in names}}

    run = PythonRun(Lazy, Columns(), 20, trainer={"accelerator": "cpu"})
    names, losses = training_pass(run, run.module(), 0, 2)
    assert names == ["main", "other"]
    assert np.array_equal(losses, training_pass(RUN, RUN.module(), 0, 2)[1])


def test_layers_made_in_setup_are_loaded_after_it():
    class Late(Heads):
        def setup(self, stage):
            if not hasattr(self, "extra"):
                self.extra = torch.nn.Linear(6, 6)

    run = PythonRun(Late, Columns(), 20, trainer={"accelerator": "cpu"})
    built = run.module()
    built.setup("fit")
    renewed = judge(run).recalibrated(built.state_dict(), 0, 2)
    assert torch.equal(renewed["extra.weight"], built.extra.weight)


def test_an_empty_loader_is_named():
    run = PythonRun(Heads, Columns(n=0), 20, trainer={"accelerator": "cpu"})
    with pytest.raises(ValueError, match=r"`train_dataloader` of Columns|num_samples=0"):
        training_pass(run, run.module(), 0, 1)
