"""Inner products equal those of concatenated gradients, however they are cut."""

import pytest
import torch

from psst.pareto import products
from psst.pareto.products import gramian


def gradients_of(m, dtype=torch.float32, seed=0):
    rng = torch.Generator().manual_seed(seed)
    shapes = [(3, 4), (5,), (), (2, 1, 6), (40,)]
    return [{p: torch.randn(s, generator=rng, dtype=dtype) for p, s in enumerate(shapes)} for _ in range(m)]


def flat(gradients, shared):
    return torch.stack([torch.cat([g[p].reshape(-1) for p in sorted(shared)]) for g in gradients]).double()


@pytest.mark.parametrize("chunk", [1, 15, 10**6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_chunks_give_the_same(chunk, dtype, monkeypatch):
    monkeypatch.setattr(products, "_CHUNK", chunk)
    rows, shared = gradients_of(3, dtype), {0, 2, 3, 4}
    expected = flat(rows, shared) @ flat(rows, shared).T
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13  # rounding of sums of 65 numbers
    found = gramian(rows, shared)
    assert found.dtype == dtype
    assert torch.allclose(found.double(), expected, rtol=tolerance, atol=tolerance)
    assert torch.equal(found, found.T)


def test_missing_entries_count_as_zero():
    rows = gradients_of(2)
    full = [dict(row) for row in rows]
    del rows[0][3]
    full[0][3] = torch.zeros_like(full[0][3])
    assert torch.equal(gramian(rows, {0, 3}), gramian(full, {0, 3}))
    assert not gramian([{}, {}], {0, 3}).any()


def test_half_precision_is_summed_in_float32():
    rows = [{0: torch.full((4096,), 1.0, dtype=torch.bfloat16)} for _ in range(2)]
    assert gramian(rows, {0}).dtype == torch.float32
    assert (gramian(rows, {0}) == 4096.0).all()


def test_strides_do_not_matter():
    value = torch.randn(4, 3, 5, 5)
    other = torch.randn(4, 3, 5, 5)
    last = value.contiguous(memory_format=torch.channels_last)
    expected = torch.dot(value.flatten(), other.flatten())
    assert torch.allclose(gramian([{0: last}, {0: other}], {0})[0, 1], expected)


def test_channels_last_gradients_are_read_as_they_lie_in_memory():
    plain = [{0: torch.randn(4, 3, 5, 5)} for _ in range(2)]
    last = [{0: row[0].contiguous(memory_format=torch.channels_last)} for row in plain]
    assert torch.allclose(gramian(last, {0}), gramian(plain, {0}), rtol=1e-5, atol=1e-4)
