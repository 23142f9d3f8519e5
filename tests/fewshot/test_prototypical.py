from itertools import product

import pytest
import torch

from psst.fewshot import PrototypicalHead
from psst.fewshot.head import prototypes


def test_prototypes_are_class_means(episode):
    support, labels, _, n = episode
    means = prototypes(support, labels, n)
    for b in range(len(support)):
        for way in range(n):
            torch.testing.assert_close(means[b, way], support[b][labels[b] == way].mean(dim=0))


def test_logits_are_negative_squared_distances(episode):
    support, labels, query, n = episode
    expected = -torch.cdist(query, prototypes(support, labels, n)).square()
    torch.testing.assert_close(PrototypicalHead()(support, labels, query, n), expected)


def test_cosine_logits_are_scaled_cosines_to_means_of_directions(episode):
    support, labels, query, n = episode
    logits = PrototypicalHead("cosine", scale=7.0)(support, labels, query, n)
    for b, way in product(range(len(support)), range(n)):
        rows = support[b][labels[b] == way]
        mean = (rows / rows.norm(dim=1, keepdim=True)).mean(dim=0)
        torch.testing.assert_close(logits[b, :, way], 7.0 * torch.cosine_similarity(query[b], mean, dim=1))
    lengths = 1 + torch.rand(*support.shape[:2], 1, dtype=torch.float64)
    stretched = PrototypicalHead("cosine", scale=7.0)(lengths * support, labels, 3 * query, n)
    torch.testing.assert_close(stretched, logits)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"`metric=manhattan` must be `euclidean` or `cosine`"):
        PrototypicalHead("manhattan")
    with pytest.raises(ValueError, match=r"`scale=0` must be above 0"):
        PrototypicalHead("cosine", scale=0)


def test_moving_all_features_changes_nothing_even_far_from_zero(episode):
    """Float32 features a thousand units from the origin keep their distances."""
    support, labels, query, n = (
        part.float() if torch.is_tensor(part) and part.is_floating_point() else part for part in episode
    )
    head = PrototypicalHead()
    moved = head(support + 1024, labels, query + 1024, n)  # rounding of the inputs themselves: 6e-5
    torch.testing.assert_close(moved, head(support, labels, query, n), rtol=1e-3, atol=1e-2)


def test_gradients_of_logits(episode):
    support, labels, query, n = episode
    support.requires_grad_()
    query.requires_grad_()
    for metric in ("euclidean", "cosine"):
        head = PrototypicalHead(metric)
        assert torch.autograd.gradcheck(
            lambda s, q, head=head: head(s, labels, q, n), (support, query), fast_mode=True
        )
