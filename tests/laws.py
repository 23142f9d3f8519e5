"""Laws shared by tests: of solvers and methods, with brute-force references; of tasks and heads."""

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
import torch

from psst.backbones import Backbone, Encoder, Setup
from psst.tasks import Encode

GAP = 1e-9
"""Largest KKT gap an exact solver may leave, relative to the trace of the Gramian."""


def assert_on_simplex(weights: np.ndarray) -> None:
    """No weight is negative, their sum is 1."""
    assert weights.dtype == np.float64
    assert (weights >= 0.0).all(), weights
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=0, atol=1e-12)


def assert_descends(gramian: np.ndarray, weights: np.ndarray, rows: np.ndarray | None = None) -> None:
    """Min-norm law: ``<row, d> >= |d|^2`` for every row of the hull, up to 1e-9 of the trace."""
    rows = np.eye(len(gramian)) if rows is None else rows
    pulled = gramian @ weights
    assert (rows @ pulled >= weights @ pulled - GAP * gramian.trace()).all()


def assert_same_direction(
    gradients: np.ndarray, first: np.ndarray, second: np.ndarray, relative: float
) -> None:
    """Both weights combine the gradients ``[m, P]`` into one vector, relative to its own length.

    Where that vector is zero, an iterative reference leaves about 1e-8 of the longest gradient.
    """
    size, longest = np.linalg.norm(second @ gradients), np.linalg.norm(gradients, axis=1).max()
    assert np.linalg.norm((first - second) @ gradients) <= relative * size + 1e-8 * longest


def assert_permutation_equivariant(solve: Callable[[np.ndarray], np.ndarray], order: np.ndarray) -> None:
    """`solve` takes an order of the tasks and answers weights in that order."""
    np.testing.assert_allclose(solve(order), solve(np.arange(len(order)))[order], atol=1e-8)


def brute_force_min_norm(gramian: np.ndarray, rows: np.ndarray) -> float:
    """Least ``||d||^2`` over the hull of the rows, by trying every support."""
    hull = rows @ gramian @ rows.T
    return min(_affine_minimum(hull, list(support)) for support in _supports(len(rows)))


def _affine_minimum(hull: np.ndarray, support: list[int]) -> float:
    n = len(support)
    system = np.block(
        [[hull[np.ix_(support, support)], np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]]
    )
    shares = np.linalg.lstsq(system, np.eye(n + 1)[-1], rcond=1e-14)[0][:n]
    if (shares < -1e-12).any() or abs(shares.sum() - 1.0) > 1e-9:
        return np.inf
    return float(shares @ hull[np.ix_(support, support)] @ shares)


def brute_force_nearest(
    metric: np.ndarray, target: np.ndarray, normals: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """Nearest weights of sum 1 with ``normals a >= offsets``, by trying every set of active rows."""
    m, best, best_value = len(target), None, np.inf
    for active in [(), *_supports(len(normals), m - 1)]:
        equalities = np.vstack([np.ones((1, m)), normals[list(active)]])
        bounds = np.concatenate([np.ones(1), offsets[list(active)]])
        zeros = np.zeros((len(bounds), len(bounds)))
        system = np.block([[metric, equalities.T], [equalities, zeros]])
        right = np.concatenate([metric @ target, bounds])
        weights = np.linalg.lstsq(system, right, rcond=1e-14)[0][:m]
        holds = (normals @ weights >= offsets - 1e-9).all() and np.allclose(
            equalities @ weights, bounds, atol=1e-9
        )
        value = (weights - target) @ metric @ (weights - target)
        if holds and value < best_value:
            best, best_value = weights, value
    assert best is not None
    return best


def _supports(n: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    for size in range(1, (n if largest is None else min(n, largest)) + 1):
        yield from combinations(range(n), size)


class Adapter(Backbone):
    """A tiny frozen encoder (fixed random features) and what is trained behind it."""

    def make(self, image_shape):
        size = int(np.prod(image_shape))
        self.register_buffer("fixed", torch.randn(size, 12, generator=torch.Generator().manual_seed(1)))
        self.layer = torch.nn.Linear(12, 12)
        self.register_buffer("center", torch.zeros(12))
        return 12

    num_frozen = 12
    key = "fixed random features, 1"

    def center_on(self, mean):
        self.center.copy_(mean)

    def frozen(self, images):
        return images.flatten(1) @ self.fixed

    def adapted(self, frozen):
        return frozen + self.layer(frozen)

    def forward(self, images):
        return self.adapted(self.frozen(images))


def setup_for(backbone, image_shape, classes, main=None):
    """What tasks are told of an encoder with a built backbone."""
    encoder = Encoder(backbone)
    encoder.build(image_shape)
    return Setup(encoder, tuple(classes), main)


def loss_of(task, setup, batch, before=(), with_maps=False):
    """The loss of a task after others had their turn, with draws of its own."""
    encode = Encode(setup.encoder, (0, "train", batch.index), with_maps)
    for other in (*before, task):
        encode.begin(other.name)
        loss = other.loss(batch, encode, torch.Generator().manual_seed(5))
    return loss


def assert_loss_depends_on_batch_and_draws_only(task, setup, batch, main, others, with_maps):
    """Whoever asked the encoder first, and whatever the global generator has drawn."""
    first = loss_of(task, setup, batch, [main], with_maps)
    assert first.ndim == 0
    assert first.isfinite()
    for before in ([main, *others], [main, *others[::-1]]):
        torch.rand(3)
        again = loss_of(task, setup, batch, before, with_maps)
        assert torch.equal(first, again), [other.name for other in before]


def assert_gradient_reaches(loss, parameters):
    """Every parameter gets a finite gradient, some of them one that is not zero."""
    gradients = torch.autograd.grad(loss, list(parameters), allow_unused=True)
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


def assert_head_is_equivariant(head, support, labels, query, n_way):
    """Renamed classes permute the logits' columns; another order of supports changes nothing."""
    rng = torch.Generator().manual_seed(2)
    logits = head(support, labels, query, n_way)
    names = torch.randperm(n_way, generator=rng)
    renamed = head(support, names[labels], query, n_way)
    torch.testing.assert_close(renamed[..., names], logits)
    order = torch.randperm(support.shape[1], generator=rng)
    torch.testing.assert_close(head(support[:, order], labels[:, order], query, n_way), logits)


def assert_head_treats_queries(head, support, labels, query, n_way):
    """An inductive head classifies each for itself; a transductive one does not mind their order."""
    logits = head(support, labels, query, n_way)
    order = torch.randperm(query.shape[1], generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(head(support, labels, query[:, order], n_way), logits[:, order])
    if not head.transductive:
        alone = [head(support, labels, query[:, [i]], n_way) for i in range(query.shape[1])]
        torch.testing.assert_close(torch.cat(alone, dim=1), logits)


def concrete(package, kind):
    """Every class of a kind that a package offers and that can be made."""
    offered = vars(package).values()
    return [one for one in offered if isinstance(one, type) and issubclass(one, kind) and one is not kind]


def assert_all_join(package, kind, joined):
    """A new class without a case of its own fails here."""
    missing = [one.__name__ for one in concrete(package, kind) if one not in joined]
    assert not missing, f"{', '.join(missing)} join no law; add a case to the table of this test."
