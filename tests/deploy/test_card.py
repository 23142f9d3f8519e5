"""The model card: what is known of a model, and what is not, in words."""

import json

import pytest
import yaml

from psst.backbones import Conv4
from psst.deploy.card import _license, model_card, origin_of
from psst.fewshot import PrototypicalHead
from psst.tasks import Episodic
from psst.training import FewShotModule

CONFIG = {
    "data": {
        "class_path": "psst.datamodules.Glyphs",
        "init_args": {"size": 28, "cache_dir": "somewhere", "evaluation": {"way": 5, "shot": 1}},
    },
    "trainer": {"max_steps": 77},
}
METRICS = {
    "handed_over": "search",
    "model": "soup of 3",
    "candidates": {"search": {"validation": 80.0, "test": 75.5, "test_interval": [74.25, 76.75]}},
    "differences": {"handed_over - plain": {"test": 0.75, "interval": [-0.25, 1.75]}},
    "interval": "Intervals: 95 %, over the draw of classes (20) and of episodes.",
}


@pytest.fixture
def module():
    return FewShotModule(Conv4(hidden=4), Episodic(PrototypicalHead()), image_shape=(1, 28, 28))


def test_the_card_tells_data_recipe_accuracies_and_their_intervals(module, tmp_path):
    (tmp_path / "encoder.onnx").touch()
    card = model_card(module, CONFIG, METRICS, tmp_path, "letters")
    for words in (
        "# letters: an encoder",
        "| 5-way, 1-shot | % | 95% interval |",
        "| test | 75.50 | 74.25 to 76.75 |",
        "| test, minus plain training | 0.75 | -0.25 to 1.75 |",
        "over the draw of classes (20)",
        "`encoder.onnx` (`images`, uint8 `[n, C, H, W]`, to `features` `[n, D]`)",
        "class_path: psst.datamodules.Glyphs",
        "class_path: psst.backbones.Conv4",
        "max_steps: 77",
        "28 x 28 pixels in gray",
    ):
        assert words in card
    assert "somewhere" not in card
    assert "classifier.onnx" not in card


def test_what_is_not_known_is_said(module, tmp_path):
    card = model_card(module, {}, {}, tmp_path, "letters")
    assert "Not known: no config.yaml" in card
    assert "Not known: only `best.ckpt`" in card


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        (
            {"init_args": {"encoder": "efficientnet-lite0"}},
            "`efficientnet-lite0`, which it began with: apache-2.0",
        ),
        (
            {"init_args": {"encoder": "timm:resnet18.a1_in1k"}},
            "`resnet18.a1_in1k`, which it began with: apache-2.0",
        ),
        (
            {"init_args": {"name": "resnet18", "pretrained": True}},
            "`resnet18`, which it began with: apache-2.0",
        ),
        ({"init_args": {"name": "resnet18", "pretrained": False}}, "trained from scratch"),
        ({"init_args": {"encoder": "folders/mine"}}, "`mine`, which it began with: not known"),
        (
            {"init_args": {"name": "resnet18", "checkpoint_path": "a/b.pth"}},
            "`b.pth`, which it began with: not known",
        ),
        (
            {"class_path": "own.Backbone", "init_args": {"pretrained": True}},
            "`own.Backbone`, which it began with: not known",
        ),
    ],
)
def test_the_license_is_that_of_the_weights_as_far_as_their_name_tells(backbone, said):
    assert said in _license(backbone)


def test_a_checkpoint_finds_its_run_above_it_and_figures_beside_the_best(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    assert origin_of(tmp_path / "best.ckpt") == (CONFIG, METRICS)
    assert origin_of(tmp_path / "units" / "plain" / "last.ckpt") == (CONFIG, {})
    (tmp_path / "metrics.json").write_text("{")
    assert origin_of(tmp_path / "best.ckpt") == (CONFIG, {})
