import pytest
import torch


@pytest.fixture(params=[(1, 2, 1, 1, 3), (3, 5, 4, 6, 17)], ids=str)
def episode(request):
    """Support [B, NS, D] in shuffled order, labels, query [B, NQ, D], N; in float64."""
    b, n, s, q, d = request.param
    rng = torch.Generator().manual_seed(0)
    labels = torch.stack([torch.arange(n).repeat(s)[torch.randperm(n * s, generator=rng)] for _ in range(b)])
    support = torch.randn(b, n * s, d, generator=rng, dtype=torch.float64)
    query = torch.randn(b, n * q, d, generator=rng, dtype=torch.float64)
    return support, labels, query, n
