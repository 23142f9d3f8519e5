from itertools import product

import pytest
import torch

from psst.fewshot import PrototypicalHead
from psst.fewshot.prototypical import prototypes


@pytest.fixture(params=[(1, 2, 1, 1, 3), (3, 5, 4, 6, 17)], ids=str)
def episode(request):
    """Support [B, NS, D] in shuffled order, labels, query [B, NQ, D], N; in float64."""
    b, n, s, q, d = request.param
    rng = torch.Generator().manual_seed(0)
    labels = torch.stack([torch.arange(n).repeat(s)[torch.randperm(n * s, generator=rng)] for _ in range(b)])
    support = torch.randn(b, n * s, d, generator=rng, dtype=torch.float64)
    query = torch.randn(b, n * q, d, generator=rng, dtype=torch.float64)
    return support, labels, query, n


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


def test_relabelling_the_classes_permutes_the_logits(episode):
    support, labels, query, n = episode
    permutation = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    head = PrototypicalHead()
    permuted = head(support, permutation[labels], query, n)
    torch.testing.assert_close(permuted[..., permutation], head(support, labels, query, n))


def test_each_query_stands_for_itself(episode):
    support, labels, query, n = episode
    head = PrototypicalHead()
    alone = torch.cat([head(support, labels, query[:, [i]], n) for i in range(query.shape[1])], dim=1)
    torch.testing.assert_close(alone, head(support, labels, query, n))


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
        assert torch.autograd.gradcheck(lambda s, q, head=head: head(s, labels, q, n), (support, query))


def test_half_precision_features_are_compared_in_float32(episode):
    support, labels, query, n = episode
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = PrototypicalHead()(support.bfloat16() * 300, labels, query.bfloat16() * 300, n)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
