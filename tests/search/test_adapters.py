"""A search of adapters on the cached features of a real pretrained encoder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from psst.cli import main
from psst.deploy import load_encoder
from psst.evaluation import load_scores
from psst.fewshot import LogisticHead, PrototypicalHead
from psst.images.view import UPRIGHT, View
from psst.search.episode_judge import EpisodeJudge
from psst.search.folds import FoldCourse
from psst.search.runner import UnitRunner
from psst.search.settings import USUAL, SearchSettings
from psst.training import FewShotModule
from psst.training.experiment import Experiment
from tests.search.small import results

HEAD = {"class_path": "psst.fewshot.PrototypicalHead", "init_args": {"metric": "cosine"}}
LOOKS = [{"folds": 2}, {"tries": "around", "folds": 2, "at_most": 1.0}, {"tries": "methods", "folds": 2}]
OWN = {
    "model.init_args.backbone": "psst.backbones.Conv4",
    "model.init_args.backbone.init_args.hidden": 4,
    "data.init_args.features": None,
    "data.init_args.size": 32,
}


def write_shapes(root: Path) -> None:
    """Twelve classes of eight pictures: a color and a frequency of stripes each, noisy."""
    rng = np.random.default_rng(0)
    for kind in range(12):
        (root / f"kind{kind:02}").mkdir(parents=True)
        color = rng.uniform(0.3, 1.0, 3)
        for number in range(8):
            waves = np.sin(np.arange(48) * (0.2 + 0.1 * (kind % 4)) + rng.uniform(0, 6))
            picture = (
                127 + 90 * np.outer(np.ones(48), waves)[..., None] * color + rng.normal(0, 40, (48, 48, 3))
            )
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(root / f"kind{kind:02}/{number}.png")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    write_shapes(folder / "photos")
    words = ["search", "--config", "pretrained_adapter", "--output", str(folder / "out")]
    settings = {
        "data.init_args.root": folder / "photos",
        "data.init_args.cache_dir": folder / "cache",
        "data.init_args.size": 48,
        "data.init_args.batch_size": 16,
        "data.init_args.evaluation": {"way": 2, "query": 3, "val_episodes": 30, "test_episodes": 60},
        "model.init_args.backbone.init_args.input_size": 48,
        "model.init_args.auxiliary": [
            {"class_path": "psst.tasks.SupervisedContrastive", "init_args": {"width": 0}},
            {"class_path": "psst.tasks.Preserve"},
        ],
        "trainer.max_steps": 12,
        "search.looks": LOOKS,
        "search.rivals": ["plain", "fixed", "own"],
        "search.vary": {"length": [1, 0.5], "model.init_args.backbone.init_args.dropout": [0.0, 0.5]},
        "search.own": OWN,
    }
    for key, value in settings.items():
        words += [f"--{key}", str(value) if isinstance(value, Path) else json.dumps(value)]
    assert main(words) == 0
    return folder / "out"


def read(folder):
    rows = json.loads((folder / "front.json").read_text())
    return json.loads((folder / "metrics.json").read_text()), rows


def test_every_way_is_measured_and_one_is_advised(found):
    metrics, rows = read(found)
    assert set(metrics["candidates"]) == {"search", "plain", "fixed", "frozen", "own"}
    assert metrics["handed_over"] != "own"
    assert sum("Which way to go:" in line for line in metrics["remarks"]) == 1
    assert {"search - plain", "search - frozen", "search - own"} <= set(metrics["differences"])
    names = {row["name"] for row in rows}
    assert {"frozen", "main only", "main only, dropout=0.5", "upgrad", "all=1"} <= {
        name.removesuffix(", 0.5 T").removesuffix(", dropout=0.5") for name in names
    } | names
    finals = [row for row in rows if row["final_of"]]
    assert {name for row in finals for name in row["final_of"].split()} == set(metrics["candidates"])
    frozen = metrics["candidates"]["frozen"]
    assert frozen["passes"] == 0


def test_trainings_that_two_lines_share_are_done_once(found):
    assert sum(name.startswith("main-only-fold") for name in results(found)) == 2
    metrics, _ = read(found)
    each = sum(metrics["candidates"][name]["passes"] for name in metrics["candidates"])
    assert metrics["total_passes"] < each


def test_frozen_is_the_nearest_mean_of_centered_features(found):
    experiment = Experiment.from_config(found / "config.yaml", search=SearchSettings)
    data = experiment.datamodule()
    data.prepare_data()
    data.setup("test")
    module = FewShotModule.load_from_checkpoint(found / "units/final-frozen/model.ckpt", weights_only=True)
    module.attach(data)
    cache = data.feature_cache
    pool = np.concatenate([data.store.split_ids("train"), data.store.split_ids("val")])
    upright = cache.features[:, 0].float()
    torch.testing.assert_close(module.encoder.backbone.center, upright[pool].mean(0), rtol=1e-3, atol=1e-4)
    batch = next(iter(data.test_dataloader()))
    features = module.eval().embed_and_judge(data.on_after_batch_transfer(batch, 0))[0]
    centered = torch.nn.functional.normalize(upright[batch.ids] - module.encoder.backbone.center, dim=1)
    torch.testing.assert_close(torch.nn.functional.normalize(features, dim=1), centered)


def test_frozen_features_with_several_shots_get_logistic_regression_too(found, tmp_path):
    several = {"data.init_args.evaluation.shot": 2}
    once, more = (Experiment.from_config(found / "config.yaml", o, SearchSettings) for o in ({}, several))
    assert EpisodeJudge(once).frozen == (USUAL,)
    judge = EpisodeJudge(more)
    usual, logistic = judge.frozen
    assert usual == USUAL
    units = next(FoldCourse(judge, more.settings(), 12, tmp_path, "").lines()[-1])
    assert {unit.name for unit in units} == {
        f"frozen{how}-fold-{fold}" for how in ("", "-head=LogisticHead-cost=10") for fold in (1, 2)
    }
    unit = next(unit for unit in units if unit.setting == logistic)
    metric = UnitRunner(judge, more.settings(), tmp_path).do(unit)["metric"]
    model = FewShotModule.load_from_checkpoint(
        tmp_path / "units" / unit.name / "model.ckpt", weights_only=True
    )
    assert isinstance(model.head, LogisticHead)
    assert model.head.cost == 10
    assert 0.5 < metric <= 1


def test_the_export_predicts_what_the_judge_did(found, tmp_path):
    """Features of image files, by the exported model alone, against those that the judge read from the cache.

    The cache holds half precision, encoded in bfloat16 where the processor has it: queries whose two best
    classes are nearer than that may fall either way.
    """
    assert main(["export", str(found / "best.ckpt"), "--output", str(tmp_path / "model")]) == 0
    encoder, head = load_encoder(tmp_path / "model"), PrototypicalHead("cosine")
    experiment = Experiment.from_config(found / "config.yaml", search=SearchSettings)
    data = experiment.datamodule()
    data.prepare_data()
    data.setup("test")
    module = FewShotModule.load_from_checkpoint(found / "best.ckpt", weights_only=True).eval()
    module.attach(data)
    ids = data.store.split_ids("test")
    with torch.no_grad():
        own = encoder(torch.from_numpy(data.store.read(ids)))
        batches = [data.on_after_batch_transfer(batch, 0) for batch in data.test_dataloader()]
        judged = torch.cat([module.encode(batch)(batch, View(UPRIGHT)) for batch in batches])
    place = {int(image): row for row, image in enumerate(ids)}
    [sampler] = data.episode_plan("test").values()
    episodes = sampler.draw(0, 40)
    support, query = (
        torch.tensor([[place[i] for i in row.ravel().tolist()] for row in part])
        for part in (episodes.support, episodes.query)
    )
    labels = torch.arange(2).repeat_interleave(episodes.support.shape[2]).expand(40, -1)
    logits = [head(features[support], labels, features[query], 2) for features in (judged, own)]
    margin = logits[0].diff(dim=2).abs()[..., 0] > 0.05
    assert margin.sum() > 100
    assert torch.equal(logits[0].argmax(2)[margin], logits[1].argmax(2)[margin])
    scores = load_scores(next(found.glob("units/final-*/test_scores.npz")))
    assert scores["all"].n_way == 2
