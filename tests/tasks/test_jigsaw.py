import math

import pytest
import torch

from psst.backbones import Conv4
from psst.episodes import Policies
from psst.tasks import Jigsaw
from tests import laws
from tests.tasks.batches import CLASSES, SIDE, built, make_batch
from tests.tasks.test_patch_location import Brightness


def test_permutations_are_far_apart():
    """Each once, and no two closer than 35 random ones would be."""
    setup = laws.setup_for(Brightness(), (1, SIDE, SIDE), CLASSES)
    orders = built(Jigsaw(), setup).orders
    assert orders.shape == (35, 9)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(9).expand(35, -1))
    apart = (orders[:, None] != orders).sum(dim=2) + 9 * torch.eye(35, dtype=torch.long)
    assert int(apart.min()) >= 7
    assert torch.equal(orders, built(Jigsaw(), setup).orders)


def test_targets_say_how_the_patches_were_laid():
    """In pictures of nine gray cells a classifier can read the permutation off them."""
    setup = laws.setup_for(Brightness(), (1, SIDE, SIDE), CLASSES)
    task, batch = built(Jigsaw(permutations=20), setup), make_batch(Policies())
    cells = (torch.arange(9.0).view(3, 3) / 10 * 255).round().to(torch.uint8)
    batch.pixels[:, 0] = 0
    batch.pixels[:, 0, :15, :15] = cells.repeat_interleave(5, 0).repeat_interleave(5, 1)
    with torch.no_grad():
        task.classifier.bias.zero_()
        task.classifier.weight.copy_(100 * torch.nn.functional.one_hot(task.orders, 9).flatten(1))
    assert float(laws.loss_of(task, setup, batch)) < 1e-6


def test_small_patches_are_read_as_maps():
    setup = laws.setup_for(Conv4(hidden=8), (1, 32, 32), CLASSES)
    assert laws.loss_of(
        built(Jigsaw("maps", side=16), setup), setup, make_batch(), [], with_maps=True
    ).isfinite()


def test_refusals_and_chance():
    for permutations in (1, 1001):
        with pytest.raises(ValueError, match=f"`permutations={permutations}` must be from 2 to 1000"):
            Jigsaw(permutations=permutations)
    with pytest.raises(ValueError, match="`side=0`"):
        Jigsaw(side=0)
    assert Jigsaw().chance(make_batch()) == pytest.approx(math.log(35))
