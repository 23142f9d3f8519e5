"""SimCLR and SupervisedContrastive against their formulas, written out."""

import math

import pytest
import torch

from psst.backbones import Conv4
from psst.images.view import View
from psst.tasks import Encode, SimCLR, SupervisedContrastive
from psst.tasks.simclr import contrast
from tests import laws
from tests.tasks.batches import CLASSES, SIDE, built, make_batch


@pytest.mark.parametrize("kind", [SimCLR, SupervisedContrastive])
def test_the_loss_is_the_formula(kind):
    """Khosla et al., eq. 2, term by term; without labels every image is a class of its own."""
    torch.manual_seed(0)
    setup = laws.setup_for(Conv4(hidden=8), (1, SIDE, SIDE), CLASSES)
    task, batch = built(kind(temperature=0.3, width=6), setup), make_batch()
    loss = laws.loss_of(task, setup, batch, [])
    encode = Encode(setup.encoder, (0, "train", 7))
    encode.begin(task.name)
    features = encode(batch, View(crop=1), View(crop=2)).flatten(0, 1)
    z = torch.nn.functional.normalize(task.projection(features), dim=1).detach().double()
    labels = batch.labels.tolist() if kind is SupervisedContrastive else [-1] * len(batch)
    identity = [label if label >= 0 else -1 - place for place, label in enumerate(labels)] * 2
    terms = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        partition = sum(math.exp(z[i] @ z[a] / 0.3) for a in others)
        positives = [p for p in others if identity[p] == identity[i]]
        terms.append(
            -sum(math.log(math.exp(z[i] @ z[p] / 0.3) / partition) for p in positives) / len(positives)
        )
    assert float(loss) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_the_gradient_is_that_of_the_formula():
    """Both factors of a product count, though one is told by the other."""
    torch.manual_seed(0)
    features = torch.randn(10, 4, dtype=torch.float64, requires_grad=True)
    identities = torch.arange(5).repeat(2)
    check = torch.autograd.gradcheck
    assert check(lambda one: contrast(one, identities, 0.3), features, check_undefined_grad=False)


def test_equal_features_are_at_chance():
    task = SimCLR()
    batch = make_batch()
    n = 2 * len(batch)
    loss = contrast(torch.ones(n, 3), torch.arange(len(batch)).repeat(2), 0.5)
    assert float(loss) == pytest.approx(task.chance(batch), rel=1e-6)


@pytest.mark.parametrize("kind", [SimCLR, SupervisedContrastive])
def test_numbers_out_of_range_are_refused(kind):
    for options, words in (({"temperature": 0}, "`temperature=0`"), ({"width": -1}, "`width=-1`")):
        with pytest.raises(ValueError, match=words):
            kind(**options)
