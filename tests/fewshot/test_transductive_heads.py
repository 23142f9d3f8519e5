"""Heads that read all queries of an episode, against loops in NumPy."""

import numpy as np
import pytest
import torch

from psst.fewshot import LaplacianShotHead, PrototypeRectificationHead

SCALE = 10.0


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def rectified_by_hand(support, labels, query, n):
    query = query + support.mean(0) - query.mean(0)
    centers = unit(np.stack([support[labels == way].mean(0) for way in range(n)]))
    images = np.concatenate([support, query])
    owners = np.concatenate([labels, (unit(query) @ centers.T).argmax(1)])
    moved = []
    for way in range(n):
        rows = images[owners == way]
        weights = np.exp(SCALE * (unit(rows) @ centers[way]))
        moved.append(weights @ rows / weights.sum())
    return np.stack(moved), query


def test_rectified_prototypes(episode):
    support, labels, query, n = episode
    logits = PrototypeRectificationHead()(support, labels, query, n)
    for b in range(len(support)):
        centers, moved = rectified_by_hand(*(part[b].numpy() for part in (support, labels, query)), n)
        expected = SCALE * unit(moved) @ unit(centers).T
        np.testing.assert_allclose(logits[b].numpy(), expected, rtol=1e-9, atol=1e-9)


def test_a_shift_of_all_queries_changes_nothing(episode):
    support, labels, query, n = episode
    head = PrototypeRectificationHead()
    torch.testing.assert_close(head(support, labels, query + 3.0, n), head(support, labels, query, n))


def graph(query, k):
    distances = ((query[:, None] - query[None]) ** 2).sum(2)
    np.fill_diagonal(distances, np.inf)
    chosen = np.zeros_like(distances)
    for row, nearest in enumerate(np.argsort(distances, axis=1)[:, : min(k, len(query) - 1)]):
        chosen[row, nearest] = 1
    return (chosen + chosen.T) / 2


def parts(support, labels, query, n, k):
    centers, moved = rectified_by_hand(unit(support), labels, unit(query), n)
    costs = ((unit(moved)[:, None] - unit(centers)[None]) ** 2).sum(2)
    return costs, graph(unit(moved), k)


def softmax(rows):
    powers = np.exp(rows - rows.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("smoothness", [0.0, 0.7])
def test_labels_of_neighbors_are_smoothed(episode, smoothness):
    support, labels, query, n = episode
    head = LaplacianShotHead(neighbors=2, smoothness=smoothness, steps=4)
    probabilities = head(support, labels, query, n).exp()
    for b in range(len(support)):
        costs, weights = parts(*(part[b].numpy() for part in (support, labels, query)), n, 2)
        expected = softmax(-costs)
        for _ in range(4):
            expected = softmax(-costs + smoothness * weights @ expected)
        np.testing.assert_allclose(probabilities[b].numpy(), expected, rtol=1e-9, atol=1e-9)


def test_the_relaxed_energy_falls(episode):
    """Costs of the labels, minus half of what neighbors agree, plus y log y: what every update bounds."""
    support, labels, query, n = episode
    energies = []
    for steps in (1, 2, 5, 20):
        y = LaplacianShotHead(neighbors=2, steps=steps)(support, labels, query, n).exp()
        total = 0.0
        for b in range(len(support)):
            costs, weights = parts(*(part[b].numpy() for part in (support, labels, query)), n, 2)
            rows = y[b].numpy()
            agreement = (rows * (weights @ rows)).sum()
            total += (rows * (costs + np.log(rows))).sum() - 0.35 * agreement
        energies.append(total)
    assert (np.diff(energies) <= 1e-12).all(), energies
