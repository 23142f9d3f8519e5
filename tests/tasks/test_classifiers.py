"""GlobalClasses and Classes: the same classifier, as the main task and beside one."""

import math

import pytest
import torch
from torch.nn import functional as F

from psst.backbones import Conv4, Setup
from psst.fewshot import PrototypicalHead
from psst.tasks import Classes, Encode, GlobalClasses
from tests import laws
from tests.tasks.batches import CLASSES, SIDE, built, make_batch


@pytest.fixture
def setup():
    torch.manual_seed(0)
    return laws.setup_for(Conv4(hidden=8), (1, SIDE, SIDE), CLASSES)


def cross_entropy(task, setup, part):
    features = F.normalize(Encode(setup.encoder, (0, "train", 7))(part), dim=1)
    logits = 10 * features @ F.normalize(task.classifier.weight, dim=1).T
    return F.cross_entropy(logits, part.labels), logits


def test_main_classifies_the_images_of_classes_where_there_are_any(setup):
    task, batch = built(GlobalClasses(PrototypicalHead()), setup), make_batch()
    loss = laws.loss_of(task, setup, batch)
    expected, logits = cross_entropy(task, setup, batch.classes)
    torch.testing.assert_close(loss, expected)
    assert task.accuracy == (logits.argmax(1) == batch.classes.labels).float().mean()
    episodes = make_batch(n_classes=0)
    expected, _ = cross_entropy(task, setup, episodes.episodes)
    torch.testing.assert_close(laws.loss_of(task, setup, episodes), expected)


def test_beside_main_all_labeled_images_are_classified(setup):
    task, batch = built(Classes(), setup), make_batch()
    expected, _ = cross_entropy(task, setup, batch.labeled)
    encode = Encode(setup.encoder, (0, "train", 7))
    torch.testing.assert_close(task.loss(batch, encode, torch.Generator()), expected)


@pytest.mark.parametrize("make", [Classes, lambda **options: GlobalClasses(PrototypicalHead(), **options)])
def test_chance_and_refusals(setup, make):
    task = built(make(), setup)
    assert task.chance(make_batch()) == pytest.approx(math.log(4))
    assert laws.loss_of(task, setup, make_batch().unlabeled) is None or make is not Classes
    with pytest.raises(ValueError, match="needs the training classes"):
        make().build(Setup(setup.encoder))
    with pytest.raises(ValueError, match="`scale=0`"):
        make(scale=0)
