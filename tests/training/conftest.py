import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from psst.backbones import Conv4
from psst.datamodules.episodic import EpisodicDataModule
from psst.episodes import Episodes, Evaluation
from psst.fewshot import PrototypicalHead
from psst.images import ImageRecord
from psst.tasks import Episodic, Rotation
from psst.training import FewShotModule

SIZE = 16
CLASSES = {"train": 6, "val": 4, "test": 5}
PER_CLASS = 8


class NoiseSource:
    """Each class is a fixed random picture, its images add noise; deterministic."""

    name = "noise"
    channels = 1

    def __init__(self, groups):
        self.groups = groups

    def key(self, size):
        return {"size": size, "groups": self.groups}

    def scan(self):
        return [
            ImageRecord(f"{split}{number}", split, (split, number, copy), self._group(split, number))
            for split, count in CLASSES.items()
            for number in range(count)
            for copy in range(PER_CLASS)
        ]

    def decode(self, record, size):
        split, number, copy = record.reference
        base = np.random.default_rng([len(split), ord(split[1]), number])
        noise = np.random.default_rng([len(split), ord(split[1]), number, copy])
        picture = base.normal(120, 60, (size, size, 1)) + noise.normal(0, 30, (size, size, 1))
        return picture.clip(0, 255).astype(np.uint8)

    def _group(self, split, number):
        return f"group{number % 2}" if self.groups and split == "test" else None


class NoiseData(EpisodicDataModule):
    channels = 1

    def __init__(self, groups=False, **settings):
        defaults = {
            "episodes": Episodes(way=3, query=2, per_epoch=4),
            "evaluation": Evaluation(way=3, query=3, val_episodes=20, test_episodes=30),
        }
        super().__init__(size=SIZE, **(defaults | settings))
        self.groups = groups

    def source(self):
        return NoiseSource(self.groups)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("stores"))


@pytest.fixture
def make_data(cache):
    return lambda **settings: NoiseData(cache_dir=cache, **settings)


@pytest.fixture
def data(make_data):
    """A datamodule ready for use outside a trainer."""
    data = make_data()
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.fixture
def make_module():
    """A module with the same initial parameters at every call."""

    def make(backbone=None, auxiliary=None, **settings):
        torch.manual_seed(0)
        auxiliary = [Rotation()] if auxiliary is None else auxiliary
        settings = {"image_shape": (1, SIZE, SIZE), "main": Episodic(PrototypicalHead())} | settings
        return FewShotModule(backbone or Conv4(hidden=8), auxiliary=auxiliary, **settings)

    return make


@pytest.fixture
def make_trainer(tmp_path):
    def make(**settings):
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        return pl.Trainer(**(quiet | {"default_root_dir": str(tmp_path), "logger": False} | settings))

    return make
