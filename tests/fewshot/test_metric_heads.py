"""Heads that compare features, against their formulas written out query by query."""

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from psst.backbones import Conv4
from psst.fewshot import CosineHead, FEATHead, MatchingHead, RelationHead, SimpleShotHead
from psst.fewshot.head import prototypes
from psst.tasks import GlobalClasses
from tests import laws
from tests.tasks.batches import CLASSES, SIDE, built, make_batch


def setup_of(hidden=8):
    return laws.setup_for(Conv4(hidden=hidden), (1, SIDE, SIDE), CLASSES)


def test_cosines_to_class_means(episode):
    support, labels, query, n = episode
    logits = CosineHead(scale=5.0)(support, labels, query, n)
    for b, way in product(range(len(support)), range(n)):
        mean = support[b][labels[b] == way].mean(dim=0)
        torch.testing.assert_close(logits[b, :, way], 5.0 * torch.cosine_similarity(query[b], mean, dim=1))


def test_matching_gives_each_class_the_attention_of_its_supports(episode):
    support, labels, query, n = episode
    probabilities = MatchingHead(scale=3.0)(support, labels, query, n).softmax(dim=2)
    for b, q in product(range(len(support)), range(query.shape[1])):
        attention = (3.0 * torch.cosine_similarity(query[b, q], support[b], dim=1)).softmax(dim=0)
        expected = torch.stack([attention[labels[b] == way].sum() for way in range(n)])
        torch.testing.assert_close(probabilities[b, q], expected)


def test_matching_with_one_shot_is_the_cosine_head(episode):
    support, labels, query, n = episode
    support, labels = support[:, :n], torch.arange(n).expand(len(support), -1)
    torch.testing.assert_close(
        MatchingHead(7.0)(support, labels, query, n), CosineHead(7.0)(support, labels, query, n)
    )


def test_simple_shot_measures_distances_of_centered_directions(episode):
    support, labels, query, n = episode
    head = SimpleShotHead().double()
    torch.testing.assert_close(
        head(support, labels, query, n), head(2 * support, labels, 3 * query, n)
    )  # without a center lengths do not count
    center = torch.randn(support.shape[2], dtype=torch.float64)
    head.observe(center + torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    torch.testing.assert_close(head.center, center)
    logits = head(support, labels, query, n)
    for b, way in product(range(len(support)), range(n)):
        rows = support[b][labels[b] == way] - center
        mean = (rows / rows.norm(dim=1, keepdim=True)).mean(dim=0)
        moved = query[b] - center
        distance = (moved / moved.norm(dim=1, keepdim=True) - mean).square().sum(dim=1)
        torch.testing.assert_close(logits[b, :, way], -distance)
    head.observe(center[None] + 1)
    torch.testing.assert_close(head.center, center + 0.01)


def test_global_classes_tells_simple_shot_of_its_features_in_training_only():
    setup = setup_of()
    task = built(GlobalClasses(SimpleShotHead()), setup)
    loss = laws.loss_of(task.eval(), setup, make_batch())
    assert not task.head.center.any()
    torch.testing.assert_close(laws.loss_of(task.train(), setup, make_batch()), loss)
    assert task.head.center.shape == (setup.num_features,)
    assert task.head.center.any()
    assert torch.equal(task.state_dict()["head.center"], task.head.center)


def test_relation_compares_each_query_with_each_class_mean():
    """The split first convolution is one over both maps, channels side by side."""
    head, rng = RelationHead(hidden=6), torch.Generator().manual_seed(0)
    head.build(setup_of())
    support, query = (torch.randn(2, n, 8, 4, 3, generator=rng) for n in (6, 5))
    labels = torch.tensor([[0, 1, 2, 2, 1, 0]]).expand(2, -1)
    logits = head(support, labels, query, 3)
    weight = torch.cat([head.of_class.weight, head.of_query.weight], dim=1)
    for b, q, way in product(range(2), range(5), range(3)):
        pair = torch.cat([support[b][labels[b] == way].mean(dim=0), query[b, q]])
        score = head.compare(F.conv2d(pair[None], weight, head.of_class.bias, padding=1))
        torch.testing.assert_close(logits[b, q, way], score[0, 0], rtol=1e-4, atol=1e-5)


def test_relation_learns_scores_by_squared_error():
    head = RelationHead(hidden=6)
    head.build(setup_of())
    support, labels, query = torch.randn(1, 5, 8, 2, 2), torch.arange(5)[None], torch.randn(1, 3, 8, 2, 2)
    targets = torch.tensor([[4, 0, 4]])
    loss, logits = head.loss(support, labels, query, targets, 5)
    expected = (logits.sigmoid() - F.one_hot(targets, 5)).square().mean()
    torch.testing.assert_close(loss, expected)
    guess = (torch.full((3, 5), 0.2) - F.one_hot(targets, 5)).square().mean()
    assert head.chance(5) == pytest.approx(float(guess))


def test_relation_needs_maps():
    class Flat(Conv4):
        def make(self, image_shape):
            width = super().make(image_shape)
            self.map_shape = None
            return width

    with pytest.raises(ValueError, match="`backbone` Flat has no feature maps"):
        RelationHead().build(laws.setup_for(Flat(8), (1, SIDE, SIDE), CLASSES))


def reference_attention(head, items):
    """The adapted items by torch's own attention and layer norm."""
    width = items.shape[-1]
    attention = nn.MultiheadAttention(width, 1, batch_first=True).double()
    with torch.no_grad():
        attention.in_proj_weight.copy_(head.projections.weight)
        attention.in_proj_bias.zero_()
        attention.out_proj.weight.copy_(head.output.weight)
        attention.out_proj.bias.copy_(head.output.bias)
    return F.layer_norm(items + attention(items, items, items)[0], (width,))


def test_feat_adapts_the_prototypes_to_each_other():
    head = FEATHead(temperature=2.0, balance=0.5)
    head.build(setup_of())
    head.double()
    rng = torch.Generator().manual_seed(0)
    support, query = (torch.randn(2, n, 8, generator=rng, dtype=torch.float64) for n in (6, 9))
    labels = torch.arange(3).repeat(2).expand(2, -1)
    query_labels = torch.arange(3).repeat(3).expand(2, -1)
    loss, logits = head.loss(support, labels, query, query_labels, 3)
    centers = reference_attention(head, prototypes(support, labels, 3))
    torch.testing.assert_close(logits, -torch.cdist(query, centers).square() / 2.0)
    images, all_labels = torch.cat([support, query], dim=1), torch.cat([labels, query_labels], dim=1)
    classes = [
        torch.stack(
            [
                reference_attention(head, images[b, all_labels[b] == way][None])[0].mean(dim=0)
                for way in range(3)
            ]
        )
        for b in range(2)
    ]
    nearest = -torch.cdist(images, torch.stack(classes)).square() / 2.0
    expected = F.cross_entropy(logits.flatten(0, 1), query_labels.flatten())
    expected = expected + 0.5 * F.cross_entropy(nearest.flatten(0, 1), all_labels.flatten())
    torch.testing.assert_close(loss, expected)
    head.balance = 0.0
    plain = head.loss(support, labels, query, query_labels, 3)[0]
    torch.testing.assert_close(plain, F.cross_entropy(logits.flatten(0, 1), query_labels.flatten()))
