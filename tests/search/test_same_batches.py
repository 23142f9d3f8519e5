"""All units of a search see the same batches, whatever a module draws and however data are loaded."""

import json
from collections import defaultdict
from typing import ClassVar

import numpy as np
import pytest
import torch
from pytorch_lightning.utilities import CombinedLoader
from torch.utils.data import DataLoader, IterableDataset

from psst.pareto import Trajectory, rays_between
from psst.search import SearchSettings
from psst.search.keyed_loader import KeyedLoader
from psst.search.metric_judge import MetricJudge
from psst.search.python_run import PythonRun
from psst.search.result import Metric
from psst.search.runner import UnitRunner
from psst.search.units import Schedule
from tests.search.tasks import Columns, Heads, samples

CPU = {"accelerator": "cpu"}
SETTINGS = SearchSettings(auxiliary_weights=(0.0, 0.3))


class Recording(Heads):
    """Notes what it is trained on, by unit; how much it draws differs between units."""

    seen: ClassVar = defaultdict(list)

    def on_train_start(self):
        self.unit = self.trainer.default_root_dir.rsplit("/", 1)[1]

    def training_step(self, batch, batch_idx):
        if self.trainer.training:
            self.seen[self.unit].append(batch[0].clone())
            torch.rand(len(self.unit))  # how much a module draws may differ between units
        return super().training_step(batch, batch_idx)


def trained(folder, module, data, settings=SETTINGS):
    """Warm start, anchors, baselines from scratch, one subproblem; 20 steps in passes of 7 batches."""
    run = PythonRun(module, data, 20, trainer=CPU, settings=settings)
    judge = MetricJudge(run, Metric("val/error", "min", "val/error"))
    runner = UnitRunner(run, folder, judge)
    schedule = Schedule(settings, 20, judge.task_names()[1:])
    for unit in (schedule.warm, *schedule.anchors, *schedule.baselines):
        runner.train(unit)
    paths = [runner.unit_folder(unit.name) / "trajectory.npz" for unit in schedule.anchors]
    rays_between([Trajectory.load(path) for path in paths]).save(folder / "rays.npz")
    runner.train(schedule.subproblems(str(folder / "rays.npz"), 1)[0])
    return runner, schedule


@pytest.mark.parametrize("num_workers", [0, 2])
def test_warm_started_units_and_baselines_see_one_stream(tmp_path, num_workers):
    """The warm start ends in the middle of a pass."""
    Recording.seen.clear()
    trained(tmp_path, Recording, Columns(num_workers))
    seen = {unit: torch.stack(batches) for unit, batches in Recording.seen.items()}
    warm, whole = seen.pop("warm"), seen.pop("plain")
    assert len(whole) == 20
    assert torch.equal(warm, whole[:12])
    started = {"anchor-0", "anchor-0.3", "subproblem-0"}
    assert set(seen) == started | {"fixed-0.3"}
    for unit, batches in seen.items():
        assert torch.equal(batches, whole[12:] if unit in started else whole), unit
    assert not torch.equal(whole[:7], whole[7:14])  # each pass shuffles anew


def test_a_unit_from_the_warm_start_equals_one_trained_without_a_stop(tmp_path):
    """Same weights before and after: dropout, schedule, optimizer and BatchNorm go on as if never left."""
    runner, schedule = trained(tmp_path, Heads, Columns())
    assert schedule.anchors[1].method == schedule.warm.method == schedule.baselines[1].method
    stopped, whole = runner.state("anchor-0.3"), runner.state("fixed-0.3")
    assert all(torch.equal(stopped[name], whole[name]) for name in whole)


def test_seeds_differ(tmp_path):
    def first(seed):
        data = PythonRun(Heads, Columns(), 20, seed=seed, trainer=CPU).datamodule()
        data.setup("fit")
        return next(iter(data.train_dataloader()))[0]

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def keyed(loader, position=0):
    return list(KeyedLoader(loader, 0, "train", lambda: position))


def shuffled(**settings):
    return DataLoader(samples(24, 0), 4, shuffle=True, **settings)


@pytest.mark.parametrize("position", [1, 5, 6, 8])
def test_a_pass_entered_in_its_middle_gives_the_rest_of_it(position):
    whole = keyed(shuffled()) + keyed(shuffled(), 6)
    rest = keyed(shuffled(), position)
    end = 6 * (position // 6 + 1)
    assert len(rest) == end - position
    for got, expected in zip(rest, whole[position:end], strict=True):
        assert torch.equal(got[0], expected[0])


def test_a_generator_of_the_loaders_own_is_keyed_too():
    """Shared by all units it would go on from where the last one left it."""
    loader = shuffled(generator=torch.Generator())
    for got, expected in zip(keyed(loader), keyed(loader), strict=True):
        assert torch.equal(got[0], expected[0])


def test_loading_leaves_the_modules_random_numbers_alone():
    """What is drawn in step i depends on i, not on what was loaded or drawn before."""

    def draws(n_workers, extra):
        drawn = []
        for _ in KeyedLoader(shuffled(num_workers=n_workers), 0, "train", lambda: 0):
            drawn.append((torch.rand(()).item(), np.random.rand()))
            torch.rand(extra)
        return drawn

    assert draws(0, 0) == draws(0, 5) == draws(2, 1)
    assert len(set(draws(0, 0))) == 6


def test_loaders_joined_by_lightning_and_streams_without_length():
    joined = CombinedLoader({"a": shuffled(), "b": DataLoader(samples(8, 1), 4)}, "max_size_cycle")
    assert len(KeyedLoader(joined, 0, "train", lambda: 0)) == 6
    whole, rest = keyed(joined), keyed(joined, 4)
    assert [set(batch) for batch in whole] == [{"a", "b"}] * 6
    assert all(
        torch.equal(got["a"][0], expected["a"][0]) for got, expected in zip(rest, whole[4:], strict=True)
    )

    class Endless(IterableDataset):
        def __iter__(self):
            while True:
                yield torch.rand(())

    def start(position):
        return next(iter(KeyedLoader(DataLoader(Endless(), 2), 0, "train", lambda: position)))

    assert torch.equal(start(3), start(3))
    assert not torch.equal(start(3), start(4))


def test_the_identity_is_the_same_in_another_process_for_objects_without_a_text():
    class Quiet:
        pass

    run = PythonRun(Heads, Columns(), 20, trainer={**CPU, "callbacks": [Quiet()], "profiler": None})
    assert " at 0x" not in run.yaml()
    assert json.loads(run.yaml())["trainer"]["profiler"] is None
