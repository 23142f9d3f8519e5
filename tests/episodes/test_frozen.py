from dataclasses import replace

import numpy as np
import pytest
import torch

from psst.episodes import Evaluation
from psst.episodes.evaluation_plan import EvaluationEpisodes, FrozenEpisodes
from psst.evaluation import class_difference, evaluate_episodes
from psst.fewshot import PrototypicalHead
from psst.images import build_store
from tests.episodes.tiny_source import SIZES, TinySource, ready


@pytest.fixture
def cache(tmp_path_factory):
    return tmp_path_factory.getbasetemp() / "cache"


@pytest.fixture
def data(cache):
    return ready(cache, groups={"test": list("AABBB")})


@pytest.fixture
def path(data, tmp_path):
    data.save_episodes(tmp_path / "list.npz")
    return tmp_path / "list.npz"


def load(path, store):
    settings = Evaluation(3, 1, 5, 20, 30, str(path))
    return EvaluationEpisodes(settings, 0, store, "tiny")


def test_a_list_gives_the_episodes_it_was_made_from(data, path):
    loaded = load(path, data.store).plans
    assert {split: set(plan) for split, plan in loaded.items()} == {"val": {"all"}, "test": {"A", "B"}}
    for split, plan in loaded.items():
        for group, frozen in plan.items():
            sampler = data.episode_plan(split)[group]
            assert isinstance(frozen, FrozenEpisodes)
            assert (frozen.stream, frozen.seed, len(frozen)) == (
                sampler.stream, sampler.seed, data.eval_episodes(split),
            )  # fmt: skip
            assert set(frozen.image_ids) <= set(sampler.image_ids)
            for name in ("class_ids", "support", "query"):
                np.testing.assert_array_equal(
                    getattr(frozen.draw(5, 9), name), getattr(sampler.draw(5, 9), name)
                )


def test_scores_on_a_list_pair_with_those_on_its_sampler(data, path):
    features = torch.randn(len(data.store), 6, generator=torch.Generator().manual_seed(0))
    frozen, sampler = load(path, data.store).plans["val"]["all"], data.episode_plan("val")["all"]
    scores = [evaluate_episodes(features, drawn, PrototypicalHead(), 20) for drawn in (frozen, sampler)]
    np.testing.assert_array_equal(scores[0].accuracies, scores[1].accuracies)
    assert class_difference(*({"all": found} for found in scores)).mean == 0


def test_more_episodes_than_listed_are_refused(data, path):
    with pytest.raises(ValueError, match=r"episodes 15 to 24 were asked for, the list has 20; ask"):
        load(path, data.store).plans["val"]["all"].draw(15, 10)


def test_a_list_serves_the_same_data_at_another_size(path, tmp_path):
    store = build_store(TinySource(SIZES, groups={"test": list("AABBB")}), 8, tmp_path)
    assert len(load(path, store).plans["test"]) == 2


class Repainted(TinySource):
    name = "repainted"

    def decode(self, record, size):
        return 255 - super().decode(record, size)


class Renamed(TinySource):
    name = "renamed"

    def scan(self):
        return [
            type(record)(record.class_name.replace("1", "one"), record.split, record.reference, record.group)
            for record in super().scan()
        ]


class Moved(TinySource):
    name = "moved"

    def scan(self):
        swap = {"train": "test", "test": "train"}
        return [
            type(record)(record.class_name, swap.get(record.split, record.split), record.reference)
            for record in super().scan()
        ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Repainted(SIZES), r"the images themselves are others \(\d+% of those looked at\)"),
        (Renamed(SIZES), r"its classes are others \(test1, testone, train1\)"),
        (Moved(SIZES), r"classes of its split 'test' are in another split"),
        (TinySource(SIZES | {"test": [10, 9, 9, 12, 11]}), r"the classes have other numbers of images"),
        (TinySource(SIZES | {"test": [10, 9, 9, 12, 10, 9]}), r"its classes are others \(test5\)"),
    ],
)
def test_a_list_of_other_data_is_refused(path, tmp_path, source, message):
    store = build_store(source, 4, tmp_path)
    with pytest.raises(
        ValueError, match=f"`data.init_args.evaluation.file=.*lists episodes of other.*{message}"
    ):
        load(path, store)


class Tracked(TinySource):
    """Every test class in two tracks, whose images take turns."""

    name = "tracked"

    def scan(self):
        return [
            replace(record, image_group=f"{record.class_name} {i % 2}")
            for i, record in enumerate(super().scan())
        ]


def test_a_list_that_splits_groups_of_images_is_refused(path, tmp_path):
    store = build_store(Tracked(SIZES, groups={"test": list("AABBB")}), 4, tmp_path)
    with pytest.raises(ValueError, match=r"share a group of images in \d+ of 20 episodes of split 'val'"):
        load(path, store)
    apart = EvaluationEpisodes(Evaluation(2, 1, 3, 20, 30), 0, store, "tracked")
    apart.save(tmp_path / "apart.npz")
    assert load(tmp_path / "apart.npz", store).counts == {"val": 20, "test": 30}


def test_a_file_that_is_no_list_is_refused(data, path, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`data.init_args.evaluation.file=.*none.npz` is not there"):
        load(tmp_path / "none.npz", data.store)
    content = path.read_bytes()
    for name, damaged in {"cut": content[: len(content) // 2], "text": b"not a list", "none": b""}.items():
        (tmp_path / f"{name}.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged, or something else"):
            load(tmp_path / f"{name}.npz", data.store)
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    with pytest.raises(ValueError, match="is damaged, or something else"):
        load(tmp_path / "other.npz", data.store)
    np.savez(tmp_path / "newer.npz", format=99)
    with pytest.raises(ValueError, match="has format 99, this psst reads format 1; upgrade"):
        load(tmp_path / "newer.npz", data.store)


def test_a_datamodule_evaluates_the_list(data, path, cache):
    other = ready(
        cache, groups={"test": list("AABBB")}, seed=3, evaluation={"file": str(path), "test_episodes": 1000}
    )
    assert (other.eval_episodes("val"), other.eval_episodes("test")) == (20, 30)
    for split in ("val", "test"):
        streams = {group: sampler.stream for group, sampler in data.episode_plan(split).items()}
        assert {group: s.stream for group, s in other.episode_plan(split).items()} == streams
    with pytest.raises(ValueError, match="other numbers of images"):
        ready(cache, sizes=SIZES | {"val": [10, 9, 11, 11]}, evaluation={"file": str(path)})
