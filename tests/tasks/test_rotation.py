import pytest
import torch
from torch.nn import functional as F

from psst.backbones import Backbone
from psst.episodes import Policies
from psst.images.view import View
from psst.tasks import Encode, Rotation
from tests import laws
from tests.tasks.batches import CLASSES, SIDE, built, make_batch


class Corner(Backbone):
    """The feature is how many quarter turns a picture has made, told by where its bright corner is."""

    def make(self, image_shape):
        return 4

    def forward(self, images):
        corners = images[:, 0][:, [0, -1, -1, 0], [0, 0, -1, -1]]  # counter-clockwise from the top left
        return F.one_hot(corners.argmax(1), 4).float()


@pytest.mark.parametrize("turns", ["one", "all", "quarter"])
def test_targets_are_the_quarter_turns_that_were_made(turns):
    """A classifier that reads the turn off the picture has no loss."""
    setup = laws.setup_for(Corner(), (1, SIDE, SIDE), CLASSES)
    task = built(Rotation(turns), setup)
    with torch.no_grad():
        task.classifier.weight.copy_(100 * torch.eye(4))
        task.classifier.bias.zero_()
    batch = make_batch(Policies())
    batch.pixels.zero_()
    batch.pixels[:, :, 0, 0] = 255
    assert float(laws.loss_of(task, setup, batch)) < 1e-6
    assert float(batch.images(View(turns=(1,)))[0, 0, -1, 0]) == 1


def test_a_quarter_costs_no_more_than_the_batch():
    """Four turns of a quarter of the images, each image in all four."""
    setup = laws.setup_for(Corner(), (1, SIDE, SIDE), CLASSES)
    task, batch = built(Rotation("quarter"), setup), make_batch(n_unlabeled=2)
    assert len(batch) == 24
    features, turns, labels = task._turned(
        batch, Encode(setup.encoder, (0,)), torch.Generator().manual_seed(1)
    )
    assert len(features) == len(batch)
    assert turns.tolist() == [turn for turn in range(4) for _ in range(6)]
    assert torch.equal(labels.view(4, 6), labels[:6].expand(4, -1))


def test_refusals_and_chance():
    with pytest.raises(ValueError, match="`turns=two`"):
        Rotation("two")
    assert Rotation().chance(make_batch()) == pytest.approx(torch.tensor(4.0).log().item())
