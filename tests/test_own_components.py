"""Backbone, head and task in a file of the current directory are found by every command."""

import sys

import pytest
import torch
from torch import nn

from psst.cli import main
from psst.training import FewShotModule

PARTS = """
import math

from torch import nn
from torch.nn import functional as F

from psst.backbones import Backbone
from psst.fewshot import Head
from psst.tasks import Task


class Flat(Backbone):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width = width

    def make(self, image_shape):
        self.layer = nn.Linear(math.prod(image_shape), self.width)
        return self.width

    def forward(self, images):
        return self.layer(images.flatten(1))


class Cosine(Head):
    def forward(self, support, support_labels, query, n_way):
        members = F.one_hot(support_labels, n_way).to(support.dtype).transpose(1, 2)
        return 10 * F.normalize(query, dim=2) @ F.normalize(members @ support, dim=2).transpose(1, 2)


class Bright(Task):
    name = "bright"

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def build(self, setup):
        self.layer = nn.Linear(setup.num_features, 1)

    def loss(self, batch, encode, draws):
        wanted = self.scale * batch.images().mean(dim=(1, 2, 3))
        return F.mse_loss(self.layer(encode(batch))[:, 0], wanted)


class Plain(nn.Module):
    def forward(self, images):
        return images.flatten(1)
"""
RUN = """
model:
  init_args:
    backbone: {class_path: own_parts.Flat}
    main: {class_path: psst.tasks.Episodic, init_args: {head: {class_path: own_parts.Cosine}}}
    auxiliary: [{class_path: own_parts.Bright}]
data:
  init_args:
    drawings: 2
    size: 16
    episodes: {way: 3, query: 1}
    evaluation: {way: 3, query: 1, val_episodes: 5, test_episodes: 5}
trainer: {max_steps: 4, logger: false, enable_progress_bar: false, accelerator: cpu, log_every_n_steps: 1}
"""
CONFIG = ["--config", "quickstart", "--config", "own.yaml"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    (tmp_path / "own_parts.py").write_text(PARTS)
    (tmp_path / "own.yaml").write_text(RUN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])  # as in the installed command
    yield
    sys.modules.pop("own_parts", None)


def test_fit_test_and_export_find_them(tmp_path, capsys):
    assert main(["fit", *CONFIG]) == 0, capsys.readouterr().err
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    assert main(["test", *CONFIG, "--ckpt_path", str(checkpoint)]) == 0, capsys.readouterr().err
    assert main(["export", str(checkpoint), "--output", "encoder"]) == 0, capsys.readouterr().err
    assert "own_parts.Flat" in (tmp_path / "encoder" / "config.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_search_finds_them_in_every_process(workers, tmp_path, capsys):
    small = ["--search.course", "grid", "--search.rivals", "[plain]"]
    words = ["search", *CONFIG, *small, "--output", "out", "--workers", workers]
    assert main(words) == 0, capsys.readouterr().err
    assert (tmp_path / "out" / "best.ckpt").is_file()


@pytest.mark.parametrize("path", ["own_parts.Plain", "torch.nn.Flatten"])
def test_a_plain_module_as_backbone_gets_a_sentence_that_says_what_to_write(path, capsys):
    words = ["fit", "--config", "quickstart", "--model.init_args.backbone", path]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert f"`backbone: {path}` is no Backbone" in error
    assert all(part in error for part in ("subclass of psst.backbones.Backbone", "`make(", "`forward("))
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "path", "kind"),
    [("main", "psst.tasks.Rotation", "MainTask"), ("auxiliary", "[own_parts.Plain]", "Task")],
)
def test_so_does_a_class_of_another_kind(key, path, kind, capsys):
    assert main(["fit", "--config", "quickstart", f"--model.init_args.{key}", path]) == 2
    error = capsys.readouterr().err
    assert f"subclass of psst.tasks.{kind}" in error, error
    assert len(error.strip().splitlines()) == 1


def test_in_python_a_plain_module_is_refused_too():
    with pytest.raises(
        TypeError, match=r"`backbone` .*found Flatten; wrap it in .*psst.backbones.Backbone.*make"
    ):
        FewShotModule(nn.Flatten(), main=torch.nn.Identity())
