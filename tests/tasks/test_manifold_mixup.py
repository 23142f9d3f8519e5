import math
import random

import pytest
import torch
from torch.nn import functional as F

from psst.backbones import Conv4, Setup
from psst.episodes import Batch
from psst.tasks import Encode, ManifoldMixup
from tests import laws
from tests.tasks.batches import CLASSES, SIDE, built, main_for, make_batch


def setup_for(backbone):
    torch.manual_seed(0)
    setup = laws.setup_for(backbone, (1, SIDE, SIDE), CLASSES)
    return Setup(setup.encoder, setup.classes, main_for(setup, by_class=True))


def drawn(n, n_stages, alpha=2.0):
    """Share and partners of the draws that `laws.loss_of` gives."""
    draws = torch.Generator().manual_seed(5)
    share = random.Random(int(torch.randint(2**31, (), generator=draws))).betavariate(alpha, alpha)
    torch.randint(n_stages, (), generator=draws)
    return share, torch.randperm(n, generator=draws)


def expected(setup, features, labels, share, partner):
    logits = setup.main.logits(features)
    return share * F.cross_entropy(logits, labels) + (1 - share) * F.cross_entropy(logits, labels[partner])


@pytest.mark.parametrize("stage", range(4))
def test_rows_are_mixed_at_the_stage(stage):
    """By hand: the blocks before it, the mixture, the blocks after it; the network is left as it was."""
    setup = setup_for(Conv4(hidden=8))
    task, part = built(ManifoldMixup(stages=[stage]), setup), make_batch(n_classes=6).classes
    loss = laws.loss_of(task, setup, part)
    share, partner = drawn(len(part), 1)
    hidden = setup.encoder.normalized(part.images())
    blocks = setup.encoder.backbone.blocks
    hidden = blocks[:stage](hidden)
    hidden = blocks[stage:](share * hidden + (1 - share) * hidden[partner])
    torch.testing.assert_close(loss, expected(setup, hidden.flatten(1), part.labels, share, partner))
    assert not any(block._forward_pre_hooks for block in blocks)


def test_of_an_adapter_the_frozen_features_are_mixed():
    setup = setup_for(laws.Adapter())
    task, part = built(ManifoldMixup(), setup), make_batch(n_classes=6).classes
    share, partner = drawn(len(part), 1)
    encode = Encode(setup.encoder, (0, "train", 7))
    frozen = encode.frozen(part)
    features = encode.features(share * frozen + (1 - share) * frozen[partner])
    loss = laws.loss_of(task, setup, part)
    torch.testing.assert_close(loss, expected(setup, features, part.labels, share, partner))


def test_nothing_to_do_chance_and_refusals():
    setup, batch = setup_for(Conv4(hidden=8)), make_batch()
    task = built(ManifoldMixup(), setup)
    unlabeled = Batch(
        batch.ids, torch.full_like(batch.ids, -1), 0, n_unlabeled=len(batch), pixels=batch.pixels
    )
    assert laws.loss_of(task, setup, unlabeled) is None
    assert task.chance(batch) == pytest.approx(math.log(4))
    with pytest.raises(ValueError, match="`alpha=0`"):
        ManifoldMixup(alpha=0)
    for network, stages, last in (
        (Conv4(hidden=8), [4], 3),
        (laws.Adapter(), [1], 0),
        (Conv4(hidden=8), [], 3),
    ):
        with pytest.raises(
            ValueError, match=f"must be numbers from 0 to {last}, where {type(network).__name__}"
        ):
            ManifoldMixup(stages=stages).build(setup_for(network))
    episodic = Setup(setup.encoder, setup.classes, main_for(setup))
    with pytest.raises(TypeError, match=r"`manifold_mixup` reads logits .* main task Episodic does not have"):
        ManifoldMixup().build(episodic)
