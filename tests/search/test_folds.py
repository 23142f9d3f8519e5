"""Folds of classes, and the course that tries every trade-off on them."""

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from psst.datamodules import Glyphs, ImageFolder
from psst.images.sources.groups import ImageGroups
from psst.search.episode_judge import EpisodeJudge, folded
from psst.search.settings import SearchSettings
from psst.training.experiment import Experiment
from tests.search.small import birds, command, results

LOOKS = (
    '[{"at": 0, "length": 0.5, "folds": 2, "at_most": null}, '
    '{"at": 0, "length": 0.5, "tries": "around", "folds": 2, "at_most": 1.0}]'
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    data = Glyphs(cache_dir=str(tmp_path_factory.mktemp("cache")))
    data.prepare_data()
    data.setup("fit")
    return data.store


def test_folds_part_the_classes_that_are_not_for_testing(store):
    test = set(store.splits["test"].tolist())
    left_out = [set(folded(store, number, 3, 5)[1]) for number in range(3)]
    pool = {*store.splits["train"].tolist(), *store.splits["val"].tolist()}
    assert set.union(*left_out) == pool
    assert sum(map(len, left_out)) == len(pool)
    assert max(map(len, left_out)) - min(map(len, left_out)) <= 1
    for number in range(3):
        train, held = folded(store, number, 3, 5)
        assert set(train) == pool - set(held)
        assert not test & {*train, *held}


def test_the_final_training_uses_every_class_that_is_not_for_testing(store):
    train, _ = folded(store, -1, 3, 5)
    assert sorted(train) == sorted([*store.splits["train"].tolist(), *store.splits["val"].tolist()])


def test_whole_groups_are_left_out_where_episodes_stay_within_them(store):
    grouped = store.divided(store.splits["train"], store.splits["val"])
    halves = np.array_split(store.splits["train"], 4)
    train = {f"a{number}": ids for number, ids in enumerate(halves)}
    grouped.groups = {"train": train, "val": {"b": store.splits["val"]}}
    for number in range(3):
        train, held = folded(grouped, number, 3, 5)
        for ids in grouped.groups["train"].values():
            assert set(ids.tolist()) <= set(train) or set(ids.tolist()) <= set(held)


def test_a_divided_store_survives_a_process_and_leaves_the_first_alone(store):

    before = {name: ids.copy() for name, ids in store.splits.items()}
    divided = store.divided([3, 1], [2])
    again = pickle.loads(pickle.dumps(divided))
    assert again.splits["train"].tolist() == [3, 1]
    assert again.splits["val"].tolist() == [2]
    assert again.splits["test"].tolist() == before["test"].tolist()
    assert all((store.splits[name] == ids).all() for name, ids in before.items())


def test_the_course_chooses_on_folds_and_trains_on_all_classes(tmp_path):
    folder = tmp_path / "out"
    more = ["--search.looks", LOOKS, "--search.rivals=[plain]", "--data.init_args.evaluation.way=5"]
    more += ['--search.vary={"length": [1, 0.5], "rate": [1, 0.3, 3]}']
    assert command(folder, *more) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics["candidates"]) == {"search", "plain"}
    assert all(any(fold in name for name in results(folder)) for fold in ("fold-1", "fold-2"))
    final = torch.load(folder / "best.ckpt", weights_only=True)
    classes = final["hyper_parameters"]["classes"]
    fold = torch.load(next(folder.glob("units/*fold-1/model.ckpt")), weights_only=True)
    assert set(fold["hyper_parameters"]["classes"]) < set(classes)
    rows = json.loads((folder / "front.json").read_text())
    assert sum(row["line"] == "search" for row in rows) >= 4
    assert sum(row["name"].startswith("main only") for row in rows) >= 6  # as many settings as trade-offs
    assert all(0 <= row["fold_1"] <= 1 for row in rows)


def test_too_few_classes_for_two_folds_leave_out_images(tmp_path):
    words = ["--data", "psst.datamodules.ImageFolder"]
    settings = {"root": birds(tmp_path, train=2, val=3, test=3), "size": 16, "channels": 1}
    settings |= {"episodes.way": 2, "episodes.query": 1, "evaluation.way": 3, "evaluation.query": 1}
    words += [f"--data.init_args.{key}={value}" for key, value in settings.items()]
    words += ["--search.vary={}", "--search.rivals=[plain]"]
    assert command(tmp_path / "out", "--search.looks", LOOKS, *words) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert any("5 classes" in remark and "folds of their images" in remark for remark in metrics["remarks"])
    final = torch.load(tmp_path / "out" / "best.ckpt", weights_only=True)
    assert len(final["hyper_parameters"]["classes"]) == 5


def test_folds_of_images_part_each_class_and_keep_groups_whole(tmp_path):
    for number in range(6):
        (tmp_path / "signs" / f"{number}").mkdir(parents=True)
        for image in range(12):
            picture = Image.new("L", (8, 8), 20 * image + number)
            picture.save(tmp_path / "signs" / f"{number}" / f"{number}{image // 3}_{image}.png")
    groups = ImageGroups(pattern="(.*)_")
    data = ImageFolder(str(tmp_path / "signs"), size=8, channels=1, groups=groups, cache_dir=str(tmp_path))
    store = data.open_store()
    seen = []
    for number in range(3):
        part = store.divided_images(number, 3)
        train, held = part.split_ids("train"), part.split_ids("val")
        assert not set(store.image_groups[train].tolist()) & set(store.image_groups[held].tolist())
        names = [{part.class_names[c] for c in part.splits[split]} for split in ("train", "val")]
        assert names[0] == names[1]
        seen += held.tolist()
    pool = np.concatenate([store.split_ids("train"), store.split_ids("val")])
    assert sorted(seen) == sorted(pool.tolist())
    again = pickle.loads(pickle.dumps(store.divided_images(1, 3)))
    assert (again.labels == store.divided_images(1, 3).labels).all()


def test_another_process_reads_settings_as_this_one_does():
    judge = EpisodeJudge(Experiment.from_config("quickstart", search=SearchSettings))
    options = (("model.init_args.optimizer.init_args.lr", 0.003), ("trainer.max_steps", 7))
    copy = pickle.loads(pickle.dumps(judge)).run.varied(options)
    assert (copy.max_steps, copy.yaml()) == (7, judge.run.varied(options).yaml())
