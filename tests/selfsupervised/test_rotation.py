import pytest
import torch

from psst.randomness import torch_generator
from psst.selfsupervised import Rotation


def images():
    return torch.rand(50, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("turns", ["one", "all"])
def test_targets_count_the_quarter_turns(turns):
    source = images()
    views, targets = Rotation(turns).views(source, torch_generator("cpu", 0))
    originals = source.repeat(len(views) // len(source), 1, 1, 1)
    for original, view, target in zip(originals, views, targets, strict=True):
        assert torch.equal(view, torch.rot90(original, int(target), (1, 2)))


def test_one_random_turn_is_keyed_by_the_generator():
    task = Rotation()
    first = task.views(images(), torch_generator("cpu", 1))[1]
    assert torch.equal(first, task.views(images(), torch_generator("cpu", 1))[1])
    assert not torch.equal(first, task.views(images(), torch_generator("cpu", 2))[1])
    assert set(first.tolist()) == {0, 1, 2, 3}


def test_all_turns_each_image_four_ways():
    targets = Rotation("all").views(images(), torch_generator("cpu", 1))[1]
    assert torch.equal(targets.bincount(), torch.full((4,), 50))


def test_loss_is_the_cross_entropy_of_four_turns():
    task = Rotation()
    task.build(7)
    torch.nn.init.zeros_(task.classifier.weight)
    torch.nn.init.zeros_(task.classifier.bias)
    loss = task.loss(torch.randn(8, 7), torch.arange(8) % 4)
    assert float(loss.detach()) == pytest.approx(torch.log(torch.tensor(4.0)).item())


def test_build_once():
    task = Rotation()
    with pytest.raises(RuntimeError, match="call `build"):
        task.loss(torch.randn(1, 7), torch.zeros(1, dtype=torch.long))
    task.build(7)
    layer = task.classifier
    task.build(7)
    assert task.classifier is layer
    with pytest.raises(ValueError, match="built for 7 features, not 8"):
        task.build(8)


def test_refusals():
    with pytest.raises(ValueError, match="`turns=two`"):
        Rotation("two")
    with pytest.raises(ValueError, match="square"):
        Rotation().views(torch.rand(2, 1, 4, 5), torch_generator("cpu", 0))
