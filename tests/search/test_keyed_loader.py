"""Batches that depend on the seed and their place only, however data are loaded."""

import json

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import CombinedLoader
from torch.utils.data import DataLoader, IterableDataset

from psst.search.keyed_loader import KeyedLoader, PassPlace
from psst.search.python_run import PythonRun
from tests.search.tasks import Columns, Heads, samples

CPU = {"accelerator": "cpu"}


def test_seeds_differ(tmp_path):
    def first(seed):
        data = PythonRun(Heads, Columns(), 20, seed=seed, trainer=CPU).datamodule()
        data.setup("fit")
        return next(iter(data.train_dataloader()))[0]

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


class At(PassPlace):
    """A place in the stream without a trainer."""

    position = 0

    def __init__(self, position=0):
        super().__init__(LightningDataModule())
        self.position = position


def keyed(loader, position=0):
    return list(KeyedLoader(loader, 0, "train", At(position)))


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
        for _ in KeyedLoader(shuffled(num_workers=n_workers), 0, "train", At()):
            drawn.append((torch.rand(()).item(), np.random.rand()))
            torch.rand(extra)
        return drawn

    assert draws(0, 0) == draws(0, 5) == draws(2, 1)
    assert len(set(draws(0, 0))) == 6


def test_loaders_joined_by_lightning_and_streams_without_length():
    joined = CombinedLoader({"a": shuffled(), "b": DataLoader(samples(8, 1), 4)}, "max_size_cycle")
    assert len(KeyedLoader(joined, 0, "train", At())) == 6
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
        return next(iter(KeyedLoader(DataLoader(Endless(), 2), 0, "train", At(position))))

    assert torch.equal(start(3), start(3))
    assert not torch.equal(start(3), start(4))


def test_the_identity_is_the_same_in_another_process_for_objects_without_a_text():
    class Quiet:
        pass

    run = PythonRun(Heads, Columns(), 20, trainer={**CPU, "callbacks": [Quiet()], "profiler": None})
    assert " at 0x" not in run.identity()
    assert json.loads(run.identity())["trainer"]["profiler"] is None
