import pytest
import torch
from torch.nn import functional as F

from psst.backbones import Conv4
from psst.episodes import Batch
from psst.fewshot import PrototypicalHead
from psst.tasks import Encode, Episodic
from tests import laws
from tests.tasks.batches import CLASSES, SHAPE, SIDE, built, make_batch


@pytest.fixture
def setup():
    torch.manual_seed(0)
    return laws.setup_for(Conv4(hidden=8), (1, SIDE, SIDE), CLASSES)


def test_it_is_the_heads_loss_on_the_queries(setup):
    """Of the rows of the episodes alone, supports before queries."""
    task, batch = built(Episodic(PrototypicalHead()), setup), make_batch()
    loss = laws.loss_of(task, setup, batch)
    features = Encode(setup.encoder, (0, "train", 7))(batch.episodes)
    losses, right = [], []
    for episode in features.split(9):
        centers, queries = episode[:3], episode[3:]
        logits = -torch.cdist(queries, centers).square()
        labels = torch.tensor([0, 0, 1, 1, 2, 2])
        losses.append(F.cross_entropy(logits, labels))
        right.append((logits.argmax(1) == labels).float().mean())
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    torch.testing.assert_close(task.accuracy, torch.stack(right).mean())


def test_batches_without_episodes(setup):
    task, batch = built(Episodic(PrototypicalHead()), setup), make_batch()
    with pytest.raises(TypeError, match=r"`main` is Episodic, .* `data.init_args.batches` to `episodes`"):
        laws.loss_of(task, setup, batch.classes)
    alone = Batch(batch.ids, torch.full_like(batch.ids, -1), 0, n_unlabeled=len(batch), pixels=batch.pixels)
    assert laws.loss_of(task, setup, alone) is None
    assert task.chance(batch) == pytest.approx(torch.tensor(float(SHAPE.way)).log().item())
