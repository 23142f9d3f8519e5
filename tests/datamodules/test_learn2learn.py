"""The data module round the source of tests/images/sources/test_learn2learn_source.py."""

import numpy as np
import pytest
import torch
from PIL import Image

from psst.commands.data import prepare
from psst.datamodules.map_style import Learn2Learn
from psst.episodes import Episodes, Evaluation
from psst.search.settings import SearchSettings
from psst.training.experiment import Experiment

SETTINGS = {"episodes": Episodes(way=2, query=3), "evaluation": Evaluation(way=2, query=3), "size": 8}
MODES = ("train", "validation", "test")


class Numbers(torch.utils.data.Dataset):
    """Two constant images a class and mode, in learn2learn's manner."""

    def __init__(self, root: str, mode: str = "train", transform=None):
        self.root, self.mode = root, mode

    def __len__(self):
        return 20

    def __getitem__(self, index):
        rng = np.random.default_rng(100 * MODES.index(self.mode) + index)
        return Image.fromarray(rng.integers(0, 256, (10, 10, 3)).astype(np.uint8)), index // 5


def test_class_path_and_objects_give_the_same_images(tmp_path):
    cache = str(tmp_path)
    made = Learn2Learn(f"{__name__}.Numbers", {"root": "data"}, cache_dir=cache, **SETTINGS)
    given = Learn2Learn({mode: Numbers("data", mode) for mode in MODES}, cache_dir=cache, **SETTINGS)
    first, second = prepare(made), prepare(given)
    for name in ("images.npy", "labels.npy"):
        assert first.meta["sha256"][name] == second.meta["sha256"][name]
    assert (first.meta["source"], second.meta["source"]) == ("numbers", "learn2learn")
    assert {split: len(ids) for split, ids in first.splits.items()} == {"train": 4, "val": 4, "test": 4}


def test_episodes_can_be_drawn(tmp_path):
    data = Learn2Learn(f"{__name__}.Numbers", {"root": "."}, channels=1, cache_dir=str(tmp_path), **SETTINGS)
    assert data.image_shape == (1, 8, 8)
    data.prepare_data()
    data.setup("fit")
    assert tuple(next(iter(data.train_dataloader())).images().shape[-3:]) == (1, 8, 8)


def test_from_a_yaml(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
data:
  class_path: psst.datamodules.map_style.Learn2Learn
  init_args:
    data_set: {__name__}.Numbers
    init_args: {{root: data}}
    modes: {{train: train, val: validation, test: test}}
    size: 8
    cache_dir: {tmp_path / "cache"}
"""
    )
    experiment = Experiment(["--config", str(config)], SearchSettings, needs_model=False)
    assert prepare(experiment.datamodule()).image_shape == (3, 8, 8)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match=r"`data.init_args.channels=2` must be 1"):
        Learn2Learn("a.B", channels=2)
    with pytest.raises(ValueError, match=r"belong to a class path; `data.init_args.data_set` is a dict"):
        Learn2Learn({"train": []}, {"root": "data"})
