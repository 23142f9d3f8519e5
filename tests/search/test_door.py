"""The Python door: whole searches with modules that have nothing to do with few-shot learning."""

import json
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import psst
import psst.search
from psst.search import Look, SearchSettings
from psst.search.judge import Judge, _on_training_batches
from psst.search.mixture import MAIN_ONLY
from psst.search.python_run import PythonRun
from psst.search.unit import Metric, Unit
from tests.search.small import FEW, door, results
from tests.search.tasks import Columns, Heads

CPU = {"accelerator": "cpu"}
ERROR = Metric("val/error", "min", "val/error")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two tasks, losses logged in validation."""
    folder = tmp_path_factory.mktemp("two") / "out"
    return door(folder, lambda: Heads(norm=False), Columns(n_val=64 * 8)), folder


def test_the_choice_is_the_best_final_by_the_monitor_and_its_mode(two):
    result, folder = two
    assert result.best.measured.metric == min(one.measured.metric for one in result.finals.values())
    assert result.handed_over in result.finals
    content = torch.load(folder / "best.ckpt", weights_only=True)
    module, data = Heads(norm=False), Columns(n_val=64 * 8)
    module.load_state_dict(content["state_dict"])
    module.eval()
    data.setup("fit")
    with torch.no_grad():
        error = float(module.losses(tuple(data.val.tensors))["main"])
    assert error == pytest.approx(result.best.measured.metric, rel=1e-5)  # float32 sums in another order


def test_standard_errors_come_from_parts_of_the_validation_data(two):
    result, folder = two
    shards = [unit["shards"] for unit in results(folder).values() if "shards" in unit]
    assert shards
    assert all(len(values) == 8 for values in shards)
    one = result.finals["search"].measured
    assert float(np.mean(one.shards)) == pytest.approx(one.quality, rel=1e-4)  # parts of equal size
    assert (one - result.finals["plain"].measured).half_width is not None


def test_no_verdict_on_classes_is_given(two):
    metrics = json.loads((two[1] / "metrics.json").read_text())
    assert metrics["interval"].startswith("No intervals of the test")
    assert any("eight parts" in line for line in metrics["remarks"])


def test_three_tasks_none_called_main(tmp_path):
    names = ("first", "second", "third")

    class Named(Heads):
        def validation_step(self, batch, batch_idx):
            self.log("score", -self.losses(batch)["first"])

    few = replace(FEW, looks=[Look(0.4, 0.1, "singles", 0.5), FEW.looks[1]], methods=("min_norm",))
    result = door(tmp_path / "out", lambda: Named(names), monitor="score", mode="max", settings=few)
    tried = {one.name for one in result.found["search"].candidates}
    assert {"main only", "second=1", "third=1", "all=1"} <= tried
    assert result.tasks == list(names)


def test_changed_arguments_are_refused_with_the_difference(two):
    _, folder = two
    with pytest.raises(ValueError, match=r"`output .*` holds a search of another model[\s\S]*\"seed\": 1"):
        door(folder, lambda: Heads(norm=False), Columns(n_val=64 * 8), seed=1)


def test_the_process_and_the_datamodule_are_left_as_they_were(tmp_path):
    torch.manual_seed(1)
    expected = torch.randn(3)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    drawn = np.random.get_state()[1].copy(), random.getstate()
    threads, data = torch.get_num_threads(), Columns()
    attributes = dict(vars(data))
    few = SearchSettings(course="grid", rivals=("plain",))
    door(tmp_path, data=data, max_steps=3, settings=few)
    assert torch.equal(torch.randn(3), expected)
    assert (np.random.get_state()[1] == drawn[0]).all()
    assert random.getstate() == drawn[1]
    assert torch.get_num_threads() == threads
    assert vars(data) == attributes


def test_the_package_itself_is_the_function_and_imports_no_torch():
    assert "search" in dir(psst)
    code = "import sys, psst.search; assert callable(psst.search) and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def run_of(module):
    return PythonRun(module, Columns(), 20, trainer=CPU)


def test_a_step_costs_the_operations_of_what_it_goes_back_through():
    judge = Judge(run_of(Heads), ERROR)
    judge.task_names()
    assert judge.cost(()) == 1.0
    assert 1.0 < judge.cost(("other",)) < 2.0  # the trunk is shared, the forward pass computes both heads


def test_renewed_statistics_are_the_mean_over_the_batches():
    """Against the same batches gone through by hand; only the statistics change."""
    run = run_of(Heads)
    state = {name: value.clone() for name, value in run.module().state_dict().items()}
    found = Judge(run, ERROR).renew(state, Unit("any", MAIN_ONLY, 0, 1, 1), 4)
    seen, probe = [], run.module()
    probe.trunk[0].register_forward_hook(lambda layer, inputs, output: seen.append(output.detach()))
    _on_training_batches(run, probe, 4, lambda compute: compute())
    mean = torch.stack([batch.mean(dim=0) for batch in seen]).mean(dim=0)
    torch.testing.assert_close(found["trunk.1.running_mean"], mean, rtol=1e-5, atol=1e-6)
    changed = {name for name in state if not torch.equal(state[name], found[name])}
    assert all(name.startswith("trunk.1.") for name in changed)


def refused(tmp_path, error, match, module=Heads, data=None, **changes):
    output = tmp_path / "out"
    with pytest.raises(error, match=match):
        door(output, module, data, **changes)
    assert not output.exists()


class NoLosses(Heads):
    def training_step(self, batch, batch_idx):
        return sum(self.losses(batch).values())


class Sealed(Heads):
    """Keeps an object among its hyperparameters."""

    def __init__(self, activation):
        super().__init__()
        self.save_hyperparameters({"activation": activation})


class Own(Heads):
    """Draws parameters from a generator of its own."""

    stream = torch.Generator().manual_seed(0)

    def __init__(self):
        super().__init__()
        with torch.no_grad():
            self.trunk[0].weight.copy_(torch.randn(8, 6, generator=self.stream))


def sharing():
    trunk = nn.Linear(6, 8)

    def make():
        module = Heads()
        module.trunk[0] = trunk
        return module

    return make


ONE = Heads()


@pytest.mark.parametrize(
    ("module", "error", "match"),
    [
        (lambda: ONE, ValueError, "the same object twice"),
        (sharing(), ValueError, r"share `trunk\.0\.weight`"),
        (Own, ValueError, r"differ in `trunk\.0\.weight`"),
        (lambda: nn.Linear(1, 1), TypeError, "gave a Linear"),
        (NoLosses, TypeError, "`losses`, which `training_step` of NoLosses lacks"),
        (lambda: Heads(("main",)), ValueError, r"\['main'\].*at least two"),
        (lambda: Sealed(nn.ReLU()), TypeError, r"save_hyperparameters\(ignore="),
    ],
)
def test_modules_that_cannot_work_are_refused_and_nothing_is_left(tmp_path, module, error, match):
    refused(tmp_path, error, match, module)


@pytest.mark.parametrize(
    ("argument", "error", "match"),
    [
        ({"trainer": {"max_epochs": 3}}, ValueError, "`max_steps` sets the length"),
        ({"trainer": {"precison": 16}}, TypeError, "no argument of the Trainer"),
        ({"trainer": {"devices": 2}}, ValueError, "2 processes"),
        ({"monitor": "val/acc"}, ValueError, "`monitor='val/acc'` is not logged.*`val/error`"),
        ({"mode": "best"}, ValueError, "`mode='best'`"),
        ({"max_steps": 2.5}, ValueError, r"`max_steps=2\.5`"),
        ({"workers": 0}, ValueError, "`workers=0`"),
        ({"engine": "x"}, ValueError, "`engine=x`"),
        ({"budget": "soon"}, ValueError, "`budget=soon`"),
        ({"settings": SearchSettings(course="folds")}, ValueError, "has none; choose"),
        ({"settings": SearchSettings(methods=("upgrd",))}, ValueError, "`search.methods`.*`upgrad`"),
        ({"settings": SearchSettings(vary={"model.x": [1, 2]})}, ValueError, "vary model.x, which only"),
        ({"workers": 2, "module": lambda: Heads()}, TypeError, "top level of a module"),
    ],
)
def test_arguments_that_cannot_work_are_refused_and_nothing_is_left(tmp_path, argument, error, match):
    refused(tmp_path, error, match, **argument)


def test_data_of_something_else(tmp_path):
    refused(tmp_path, TypeError, "gave a list", data=list)


class Fading(Heads):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def test_a_schedule_that_has_fallen_where_a_look_leaves_is_refused(tmp_path):
    with pytest.raises(ValueError, match="below a tenth of its peak"):
        door(tmp_path / "out", Fading)


class Breaking(Heads):
    """Gives NaN to the second task from the start of a branch on."""

    def training_step(self, batch, batch_idx):
        found = super().training_step(batch, batch_idx)
        if self.trainer.training and "/look1-w=3" in self.trainer.default_root_dir:
            found["losses"]["main"] = found["losses"]["main"] * float("nan")
        return found


def test_a_unit_that_diverges_is_marked_and_the_search_goes_on(tmp_path):
    result = door(tmp_path / "out", lambda: Breaking(norm=False))
    assert "is nan" in " ".join(remark for found in result.found.values() for remark in found.remarks)
    assert "w=3" not in {one.name for one in result.found["search"].candidates if one.look == 1}
    assert np.isfinite(result.best.measured.metric)
