import math

import pytest
import torch

from psst.backbones import Backbone, Conv4
from psst.episodes import Policies
from psst.tasks import PatchLocation
from tests import laws
from tests.tasks.batches import CLASSES, SIDE, built, make_batch


class Brightness(Backbone):
    """The feature says which of nine gray levels a picture has."""

    def make(self, image_shape):
        return 9

    def forward(self, images):
        level = (images.mean((1, 2, 3)) * 0.5 + 0.5) * 10  # the encoder's neutral normalization undone
        return torch.nn.functional.one_hot(level.round().long().clamp(0, 8), 9).float()


def test_targets_say_where_the_patch_was_cut():
    """In pictures of nine gray cells the gray tells the place; the middle one is never the neighbor."""
    setup = laws.setup_for(Brightness(), (1, SIDE, SIDE), CLASSES)
    task = built(PatchLocation(), setup)
    batch = make_batch(Policies())
    cells = (torch.arange(9.0).view(3, 3) / 10 * 255).round().to(torch.uint8)
    batch.pixels[:, 0] = 0
    batch.pixels[:, 0, :15, :15] = cells.repeat_interleave(5, 0).repeat_interleave(5, 1)
    with torch.no_grad():
        task.classifier.weight.zero_()
        task.classifier.bias.zero_()
        for place, level in enumerate([0, 1, 2, 3, 5, 6, 7, 8]):
            task.classifier.weight[place, 9 + level] = 100.0
    assert float(laws.loss_of(task, setup, batch)) < 1e-6


def test_refusals_and_chance():
    for options, words in (
        ({"reads": "pixels"}, "`reads=pixels`"),
        ({"side": 0}, "`side=0`"),
        ({"gap": -1}, "`gap=-1`"),
    ):
        with pytest.raises(ValueError, match=words):
            PatchLocation(**options)
    assert PatchLocation().chance(make_batch()) == pytest.approx(math.log(8))
    with pytest.raises(ValueError, match="`backbone` Brightness has no feature maps"):
        PatchLocation("maps").build(laws.setup_for(Brightness(), (1, SIDE, SIDE), CLASSES))


def test_small_patches_are_read_as_maps():
    """Where vectors would have another length."""
    setup = laws.setup_for(Conv4(hidden=8), (1, 32, 32), CLASSES)
    batch = make_batch()
    task = built(PatchLocation("maps", side=16), setup)
    assert laws.loss_of(task, setup, batch, [], with_maps=True).isfinite()
