"""Ridge regression, support vector machine and logistic regression against their primal forms and solvers."""

import numpy as np
import pytest
import quadprog
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from psst.fewshot import LogisticHead, RidgeHead, SVMHead
from psst.fewshot.kernel import dual_step

SIZES = [(2, 1), (5, 1), (5, 5), (3, 10)]


def centered(logits):
    return logits - logits.mean(dim=-1, keepdim=True)


def drawn(way, shot, size=1.0, width=64, n_episodes=2):
    """Features as after a ReLU; more of them than supports, so that the kernel has full rank."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(way).repeat(shot).expand(n_episodes, -1)
    support = size * torch.randn(n_episodes, way * shot, width, generator=rng, dtype=torch.float64).relu()
    query = size * torch.randn(n_episodes, 7, width, generator=rng, dtype=torch.float64).relu()
    return support, labels, query


@pytest.mark.parametrize("width", [3, 64])
def test_ridge_is_the_primal_solution(width):
    support, labels, query = drawn(5, 3, width=width)
    gram = support.mT @ support + 0.7 * torch.eye(width, dtype=torch.float64)
    weights = torch.linalg.solve(gram, support.mT @ F.one_hot(labels, 5).double())
    logits = RidgeHead(penalty=0.7, scale=3.0).double()(support, labels, query, 5)
    torch.testing.assert_close(logits, 3.0 * query @ weights, rtol=1e-9, atol=1e-9)


def crammer_singer(kernel, targets, cost):
    """The dual by quadprog; a ridge of 1e-12 of the trace lets it factorize."""
    n, way = targets.shape
    hessian = np.kron(kernel, np.eye(way))
    hessian += 1e-12 * hessian.trace() * np.eye(n * way)
    rows = np.vstack([np.kron(np.eye(n), np.ones((1, way))), -np.eye(n * way)])
    bounds = np.concatenate([np.zeros(n), -cost * targets.reshape(-1)])
    return quadprog.solve_qp(hessian, targets.reshape(-1), rows.T, bounds, n)[0].reshape(n, way)


@pytest.mark.parametrize("size", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("cost", [0.1, 10.0])
@pytest.mark.parametrize(("way", "shot"), SIZES)
def test_svm_is_the_solution_of_the_program(way, shot, cost, size):
    support, labels, query = drawn(way, shot, size)
    logits = SVMHead(cost)(support, labels, query, way)
    for b in range(2):
        duals = crammer_singer(
            (support[b] @ support[b].T).numpy(), F.one_hot(labels[b], way).double().numpy(), cost
        )
        expected = query[b] @ support[b].T @ torch.from_numpy(duals)
        # 1e-4: where all weights lie at their bounds, quadprog's own ridge counts
        torch.testing.assert_close(logits[b], expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_svm_of_many_classes_has_its_margins():
    """Where no slack is worth its cost, every other class is at least 1 below, for some support just so."""
    support, labels, _ = drawn(20, 2, size=10.0, width=128, n_episodes=1)
    scores = SVMHead(cost=1e4)(support, labels, support, 20)[0].detach()
    own = scores.gather(1, labels[0][:, None])
    others = scores.scatter(1, labels[0][:, None], -torch.inf).amax(dim=1, keepdim=True)
    assert float((own - others).min()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("cost", [0.1, 1.0, 100.0])
@pytest.mark.parametrize(("way", "shot"), SIZES)
def test_logistic_regression_is_that_of_scikit_learn(way, shot, cost):
    support, labels, query = drawn(way, shot, size=5.0)
    logits = LogisticHead(cost)(support, labels, query, way)
    for b in range(2):
        reference = LogisticRegression(
            C=cost * (2 if way == 2 else 1), fit_intercept=False, tol=1e-8, max_iter=10_000
        )  # two classes share one vector there, which costs half of what two opposed ones do
        reference.fit(F.normalize(support[b], dim=1).numpy(), labels[b].numpy())
        expected = torch.from_numpy(F.normalize(query[b], dim=1).numpy() @ reference.coef_.T)
        if way == 2:
            expected = torch.cat([-expected, expected], dim=1) / 2
        scale = float(expected.abs().max())  # 1e-3: where LBFGS stops
        torch.testing.assert_close(centered(logits[b]), centered(expected), rtol=1e-3, atol=1e-3 * scale)


@pytest.mark.parametrize("make", [RidgeHead, lambda: SVMHead(1.0), lambda: LogisticHead(10.0)])
@pytest.mark.parametrize("width", [5, 16])  # fewer and more than supports
def test_gradients_of_the_solution(make, width):
    rng = torch.Generator().manual_seed(1)
    labels = torch.arange(3).repeat(3)[None]
    support, query = (torch.randn(1, n, width, generator=rng, dtype=torch.float64) for n in (9, 7))
    support.requires_grad_()
    query.requires_grad_()
    head = make().double()
    # steps of 1e-4: with fewer features than supports the solver itself is exact to 1e-8
    tolerances = {"eps": 1e-4, "rtol": 1e-3, "atol": 1e-4, "fast_mode": True}
    assert torch.autograd.gradcheck(lambda s, q: head(s, labels, q, 3), (support, query), **tolerances)


def test_dual_step_solves_the_whole_system():
    rng = torch.Generator().manual_seed(0)
    n, way = 6, 3
    support = torch.randn(n, 4, generator=rng, dtype=torch.float64)
    curvature = torch.rand(n, way, generator=rng, dtype=torch.float64) + 0.1
    residual = torch.randn(n, way, generator=rng, dtype=torch.float64)
    rows = torch.kron(torch.eye(n), torch.ones(1, way)).double()
    blocks = torch.kron(support @ support.T, torch.eye(way, dtype=torch.float64))
    system = torch.cat(
        [
            torch.cat([blocks + torch.diag(curvature.flatten()), rows.T], dim=1),
            torch.cat([rows, torch.zeros(n, n, dtype=torch.float64)], dim=1),
        ]
    )
    right = torch.cat([residual.flatten(), torch.zeros(n, dtype=torch.float64)])
    expected = torch.linalg.solve(system, right)[: n * way].reshape(n, way)
    step = dual_step((support @ support.T)[None], curvature[None], residual[None])[0]
    torch.testing.assert_close(step, expected, rtol=1e-9, atol=1e-9)
