"""Weights of others' ResNet-12 and Conv-4 give the features that they gave there."""

import pytest
import torch
from torch import nn

from psst.backbones import Conv4, ResNet12
from psst.cli import main
from psst.commands.import_weights import fill
from psst.tasks.finished import read_finished

NARROW = (4, 6, 8, 10)
RUN = """\
model:
  class_path: psst.training.FewShotModule
  init_args:
    backbone: {class_path: psst.backbones.ResNet12, init_args: {widths: [4, 6, 8, 10]}}
    main:
      class_path: psst.tasks.Episodic
      init_args: {head: {class_path: psst.fewshot.PrototypicalHead}}
data:
  class_path: psst.datamodules.Glyphs
  init_args: {size: 32, evaluation: {val_episodes: 10, test_episodes: 20}}
"""


class Block(nn.Module):
    """A block of ResNet-12 as its authors' code has it: other names, the shortcut last, no counters kept."""

    def __init__(self, n_in, n_out):
        super().__init__()
        for i, n in enumerate((n_in, n_out, n_out), start=1):
            setattr(self, f"conv{i}", nn.Conv2d(n, n_out, 3, padding=1, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(n_out))
        self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x):
        y = x
        for i in (1, 2, 3):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = nn.functional.leaky_relu(y, 0.1) if i < 3 else y
        return nn.functional.max_pool2d(nn.functional.leaky_relu(y + self.downsample(x), 0.1), 2)


class Theirs(nn.Module):
    def __init__(self):
        super().__init__()
        for i, (n_in, n_out) in enumerate(zip((1, *NARROW), NARROW, strict=False), start=1):
            setattr(self, f"layer{i}", Block(n_in, n_out))
        self.fc = nn.Linear(NARROW[-1], 7)

    def forward(self, x):
        for i in (1, 2, 3, 4):
            x = getattr(self, f"layer{i}")(x)
        return x.mean(dim=(2, 3))


@pytest.fixture
def theirs():
    torch.manual_seed(0)
    network = Theirs()
    for _ in range(3):  # running statistics of their own
        network(torch.randn(8, 1, 32, 32))
    return network.eval()


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda s: s,
        lambda s: {"params": s, "epoch": 3},
        lambda s: {f"module.encoder.{k}": v for k, v in s.items()},
    ],
)
def test_other_names_are_told_by_their_order(theirs, wrapped):
    state = {k: v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    ours = ResNet12(NARROW)
    ours.build((1, 32, 32))
    ours.eval()
    how, left = fill(ours, wrapped(state), "res12.pth")
    images = torch.randn(4, 1, 32, 32)
    torch.testing.assert_close(ours(images), theirs(images))
    assert how == f"the order of {len(state) - 2} tensors"
    assert [key.rpartition("fc.")[2] for key in left] == ["bias", "weight"]


def test_own_names_are_told_below_any_prefix():
    one, other = Conv4(hidden=4), Conv4(hidden=4)
    one.build((1, 28, 28))
    other.build((1, 28, 28))
    how, left = fill(other, {f"net.{key}": value for key, value in one.state_dict().items()}, "w.pth")
    assert how.startswith("the names of ")
    assert not left
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_another_network_is_refused_by_what_differs(theirs):
    ours = ResNet12((4, 6, 8, 12))
    ours.build((1, 32, 32))
    shapes = r"the first that differs: .* is \[12, 8, 3, 3\], .* \[10, 8, 3, 3\]"
    with pytest.raises(ValueError, match=rf"`res12.pth` holds 82 tensors, the backbone has 80; {shapes}"):
        fill(ours, theirs.state_dict(), "res12.pth")


def test_the_checkpoint_is_tested_by_its_command(theirs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save({"state": theirs.state_dict()}, "res12.pth")
    (tmp_path / "run.yaml").write_text(RUN)
    words = ["import", "res12.pth", "--config", "run.yaml", "--mean", "[0.5]", "--std", "[0.25]"]
    assert main(words) == 0
    said, following = capsys.readouterr().out.strip().splitlines()
    assert "left out: fc.bias, fc.weight" in said
    assert main(following.removeprefix("next: psst ").split()) == 0
    encoder = read_finished(tmp_path / "model.ckpt").encoder
    images = torch.rand(3, 1, 32, 32)
    torch.testing.assert_close(encoder(images), theirs((images - 0.5) / 0.25))
    assert main([*words[:4], "--mean", "[0.5, 0.5]"]) == 2
    assert "`--mean [0.5, 0.5]` must be 1 numbers" in capsys.readouterr().err
