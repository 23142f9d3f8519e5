"""Half of the classes chooses, the other half confirms; the test is touched once."""

import json

import numpy as np
import pytest

from psst.datamodules import Glyphs
from psst.episodes import Evaluation
from psst.evaluation import EpisodeScores
from psst.search import SearchSettings, confirm
from psst.search.episode_judge import EpisodeJudge, halved, reason_against, split_scores
from psst.search.record import TestRecord
from psst.search.result import Candidate, Metric, SearchResult, Selection
from psst.training.experiment import Experiment


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    data = Glyphs(cache_dir=str(tmp_path_factory.mktemp("cache")), evaluation=Evaluation(val_episodes=20))
    data.prepare_data()
    data.setup("fit")
    return data


def test_the_halves_share_no_class_and_miss_none(data):
    plan = data.episode_plan("val")
    halves = halved(plan, data.store)
    for group, whole in plan.items():
        one, other = halves[f"{group}-chooses"], halves[f"{group}-confirms"]
        assert not set(one.class_ids) & set(other.class_ids)
        assert sorted([*one.class_ids, *other.class_ids]) == sorted(whole.class_ids)
        for half in (one, other):
            assert set(half.draw(0, 50).class_ids.ravel()) <= set(half.class_ids)
            assert (half.n_way, half.n_shot, half.n_query) == (whole.n_way, whole.n_shot, whole.n_query)


def test_the_halves_are_the_same_for_every_model_and_others_for_another_seed(data):
    plan = data.episode_plan("val")
    again, other = halved(plan, data.store), Glyphs(cache_dir=data.cache_dir, seed=1)
    assert {name: half.stream for name, half in halved(plan, data.store).items()} == {
        name: half.stream for name, half in again.items()
    }
    other.setup("fit")
    reseeded = halved(other.episode_plan("val"), other.store)
    assert all(set(reseeded[name].class_ids) != set(half.class_ids) for name, half in again.items())


def test_too_few_classes_for_halves_are_told(data):
    way = len(data.episode_plan("val")["all"].class_ids) // 4 + 1
    few = Glyphs(cache_dir=data.cache_dir, evaluation=Evaluation(way=way))
    few.setup("fit")
    assert reason_against(data.episode_plan("val")) == ""
    assert f"{2 * way} are needed for episodes of {way}" in reason_against(few.episode_plan("val"))


def test_episodes_of_a_list_cannot_be_halved(data, tmp_path):
    data.save_episodes(tmp_path / "episodes.npz")
    listed = Glyphs(cache_dir=data.cache_dir, evaluation=Evaluation(file=str(tmp_path / "episodes.npz")))
    listed.setup("fit")
    assert "come from a list" in reason_against(listed.episode_plan("val"))


def test_a_judge_that_confirms_draws_validation_alone_within_the_halves(data):
    changes = {"data.init_args.cache_dir": data.cache_dir}
    experiment = Experiment.from_config("quickstart", changes, SearchSettings)
    judge, images = EpisodeJudge(experiment, "confirm"), experiment.datamodule()
    assert judge.selection.kind == "confirm"
    judge.prepare(experiment.module(), images)
    images.prepare_data()
    images.setup("fit")
    assert set(images.episode_plan("val")) == {"all-chooses", "all-confirms"}
    assert set(images.episode_plan("test")) == {"all"}


def scores(mean, n_classes=20, first=0, seed=0):
    rng = np.random.default_rng(seed)
    ids = first + np.argsort(rng.random((400, n_classes)), axis=1)[:, :5]
    accuracies = np.float32(mean) + np.float32(0.01) * rng.normal(size=400).astype(np.float32)
    return EpisodeScores(accuracies, 1 - accuracies, f"{first}", 0, 5, 1, 15, ids.astype(np.int32))


def model(name, kind, chooses, confirms):
    halves = {"all-chooses": scores(chooses), "all-confirms": scores(confirms, first=100)}
    one, other = split_scores(halves)
    return Candidate(name, kind, {"main": 1.0, "aux": 1.0}, chooses, {}, one, other)


def test_the_winner_is_held_against_plain_on_classes_that_had_no_say(tmp_path):
    """It was lucky on the half that chose: 5 points there, none on the other."""
    winner, plain = model("anchor-1", "anchor", 0.85, 0.80), model("plain", "baseline", 0.80, 0.80)
    others = [model(f"anchor-{i}", "anchor", 0.7, 0.7) for i in (2, 3)]
    metric = Metric("val_accuracy", "max", "accuracy", "%")
    result = SearchResult(
        metric, [winner, *others], [plain], [], "anchor-1", tmp_path, {}, selection=Selection("confirm")
    )
    found = confirm.described(result)
    assert found["among"] == 3
    assert (found["classes_that_chose"], found["classes_that_confirm"]) == (20, 20)
    assert found["on_the_classes_that_chose"]["plain"]["verdict"] == "better"
    checked = found["on_the_classes_that_confirm"]["plain"]
    assert checked["verdict"] == "undecided"
    assert checked["mean"] == pytest.approx(0.0, abs=1e-6)
    json.dumps(found)


def test_scores_without_halves_all_choose():
    whole = {"Katakana": scores(0.5)}
    assert split_scores(whole) == (whole, {})


def test_the_test_is_for_one_choice(tmp_path):
    record = TestRecord(tmp_path)
    assert record.read() is None
    assert record.touch(["anchor-1", "plain"]) == ""
    when = json.loads((tmp_path / "test_touched.json").read_text())["when"]
    assert record.touch(["anchor-1", "plain"]) == when  # the same command again
    with pytest.raises(ValueError, match="anchor-2 would see the test, too: it is for one choice"):
        record.touch(["anchor-2", "plain"])
    assert record.read() == {"when": when, "units": ["anchor-1", "plain"]}
