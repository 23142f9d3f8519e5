import math

import pytest
import torch

from psst.backbones import Conv4
from psst.fewshot import PrototypicalHead
from psst.tasks import Encode, Episodes, Episodic, GlobalClasses
from tests import laws
from tests.tasks.batches import CLASSES, SIDE, built, make_batch


@pytest.fixture
def setup():
    torch.manual_seed(0)
    return laws.setup_for(Conv4(hidden=8), (1, SIDE, SIDE), CLASSES)


def test_of_a_batch_with_episodes_it_takes_those(setup):
    batch = make_batch()
    losses = [
        laws.loss_of(built(kind(PrototypicalHead()), setup), setup, batch) for kind in (Episodes, Episodic)
    ]
    assert torch.equal(*losses)
    assert Episodes(PrototypicalHead()).chance(batch) == pytest.approx(math.log(3))


@pytest.mark.parametrize(("way", "shot", "query"), [(20, 1, 5), (20, 2, 3), (3, 1, 1), (2, 4, 9)])
def test_rows_of_classes_become_one_episode(way, shot, query):
    """Supports first; classes with too few rows are left out; no row twice; another draw, other rows."""
    labels = torch.tensor([0] * 6 + [1] * 5 + [2] + [7] * 8 + [4] * 2)[torch.randperm(22)]
    task = Episodes(PrototypicalHead(), way, shot, query)
    enough = [label for label in (0, 1, 7, 4) if int((labels == label).sum()) > shot]
    drawn = []
    for seed in range(8):
        rows, targets, n_support, n_way = task._episode(labels, torch.Generator().manual_seed(seed))
        drawn.append(rows.tolist())
        assert n_way == min(way, len(enough))
        assert n_support == shot * n_way
        assert len(set(drawn[-1])) == len(rows)
        for target in range(n_way):
            of_class = labels[rows[targets == target]]
            assert of_class.unique().item() in enough
            assert int((targets[:n_support] == target).sum()) == shot
            left = int((labels == of_class[0]).sum()) - shot
            assert int((targets[n_support:] == target).sum()) == min(query, left)
    assert len(set(map(tuple, drawn))) > 1


def test_rows_of_classes_are_encoded_already(setup):
    """Those of the main task are looked up, and the loss is the head's on them."""
    batch = make_batch(n_classes=24).classes
    main, task = built(GlobalClasses(PrototypicalHead()), setup), built(Episodes(PrototypicalHead()), setup)
    encode = Encode(setup.encoder, (0, "train", 7))
    encode.begin("main")
    main.loss(batch, encode, torch.Generator())
    encode.begin(task.name)
    encode._forward = None  # no further pass
    loss = task.loss(batch, encode, torch.Generator().manual_seed(5))
    rows, targets, n_support, way = task._episode(batch.labels, torch.Generator().manual_seed(5))
    features = Encode(setup.encoder, (0, "train", 7))(batch)[rows][None]
    parts = (
        features[:, :n_support],
        targets[None, :n_support],
        features[:, n_support:],
        targets[None, n_support:],
    )
    assert way == 4
    torch.testing.assert_close(loss, task.head.loss(*parts, way)[0])
    assert task.chance(batch) == pytest.approx(math.log(4))


def test_nothing_to_do_and_refusals(setup):
    task, batch = built(Episodes(PrototypicalHead()), setup), make_batch(n_classes=4).classes
    for nothing in (batch, batch.take(range(1)), make_batch().unlabeled):
        assert laws.loss_of(task, setup, nothing) is None
        assert task.chance(nothing) is None
    for options in ({"way": 1}, {"shot": 0}, {"query": 0}):
        ((name, value),) = options.items()
        with pytest.raises(ValueError, match=f"`{name}={value}` must be at least"):
            Episodes(PrototypicalHead(), **options)
