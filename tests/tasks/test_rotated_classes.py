import math

import pytest
import torch
from torch.nn import functional as F

from psst.episodes import Policies
from psst.tasks import RotatedClasses
from tests import laws
from tests.tasks.batches import CLASSES, SIDE, built, make_batch


class CornerAndGray(laws.Adapter):
    """The feature says which class (by the gray of the middle) in which turn (by its bright corner)."""

    def make(self, image_shape):
        return 4 * len(CLASSES)

    def forward(self, images):
        pixels = images[:, 0] * 0.5 + 0.5  # the encoder's neutral normalization undone
        turns = pixels[:, [0, -1, -1, 0], [0, 0, -1, -1]].argmax(1)
        labels = (pixels[:, SIDE // 2, SIDE // 2] * 10).round().long()
        return F.one_hot(labels * 4 + turns, 4 * len(CLASSES)).float()


@pytest.mark.parametrize("turns", ["one", "all", "quarter"])
def test_targets_are_classes_in_turns(turns):
    """A classifier that reads both off the picture has no loss; unlabeled images are left out."""
    setup = laws.setup_for(CornerAndGray(), (1, SIDE, SIDE), CLASSES)
    task, batch = built(RotatedClasses(turns, scale=100.0), setup), make_batch(Policies())
    batch.pixels.copy_(
        (batch.labels.clamp_min(0) * 25.5).round()[:, None, None, None].expand(-1, 1, SIDE, SIDE)
    )
    batch.pixels[:, :, 0, 0] = 255
    with torch.no_grad():
        task.classifier.weight.copy_(torch.eye(4 * len(CLASSES)))
    assert float(laws.loss_of(task, setup, batch)) < 1e-6
    assert laws.loss_of(task, setup, batch.unlabeled) is None
    assert task.chance(batch) == pytest.approx(math.log(16))


def test_refusals():
    with pytest.raises(ValueError, match="`turns=two`"):
        RotatedClasses("two")
    with pytest.raises(ValueError, match="`scale=0`"):
        RotatedClasses(scale=0)
    with pytest.raises(ValueError, match="RotatedClasses needs the training classes"):
        RotatedClasses().build(laws.setup_for(CornerAndGray(), (1, SIDE, SIDE), ()))
