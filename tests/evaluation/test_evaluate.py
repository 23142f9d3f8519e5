import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import psst.evaluation.episodes as module_under_test
from psst.episodes import EpisodeSampler, Evaluation
from psst.evaluation import evaluate_episodes
from psst.fewshot import PrototypicalHead

SIZES = [8, 12, 9, 20, 8, 10]


def sampler_of(n_way=3, n_shot=2, n_query=5, key=3):
    ends = np.cumsum(SIZES)
    ids = [np.arange(end - size, end) for size, end in zip(SIZES, ends, strict=True)]
    return EpisodeSampler(dict(enumerate(ids)), Evaluation(n_way, n_shot, n_query), key, seed=4)


def features_of(separation=1.0, n_features=7):
    rng = torch.Generator().manual_seed(0)
    centers = torch.randn(len(SIZES), n_features, generator=rng)
    labels = torch.repeat_interleave(torch.arange(len(SIZES)), torch.tensor(SIZES))
    return separation * centers[labels] + torch.randn(len(labels), n_features, generator=rng)


def one_by_one(features, sampler, head, n):
    """The plain meaning of an episode's score."""
    for i in range(n):
        drawn = sampler.draw(i, 1)
        support, query = features[drawn.support[0].ravel()], features[drawn.query[0].ravel()]
        labels = [torch.arange(sampler.n_way).repeat_interleave(k) for k in (sampler.n_shot, sampler.n_query)]
        logits = head(support[None], labels[0][None], query[None], sampler.n_way)[0]
        yield (logits.argmax(1) == labels[1]).float().mean().item(), F.cross_entropy(logits, labels[1]).item()


@pytest.mark.parametrize("budget", [1, 4000, 2**30])
def test_scores_equal_episodes_scored_one_by_one_whatever_the_chunks(monkeypatch, budget):
    monkeypatch.setattr(module_under_test, "_CHUNK_BYTES", budget)
    features, sampler, head = features_of(), sampler_of(), PrototypicalHead()
    scores = evaluate_episodes(features, sampler, head, 50)
    accuracies, losses = zip(*one_by_one(features, sampler, head, 50), strict=True)
    np.testing.assert_allclose(scores.accuracies, accuracies, rtol=1e-6)
    np.testing.assert_allclose(scores.losses, losses, rtol=1e-5)
    assert scores.accuracies.dtype == scores.losses.dtype == np.float32
    assert (scores.n, scores.seed, scores.n_way, scores.n_shot, scores.n_query) == (50, 4, 3, 2, 5)
    assert scores.mean == pytest.approx(np.mean(accuracies), rel=1e-6)
    assert scores.half_width == pytest.approx(1.96 * np.std(accuracies, ddof=1) / math.sqrt(50), rel=1e-5)


def test_rows_may_come_in_any_order_with_their_image_ids():
    features, sampler, head = features_of(), sampler_of(), PrototypicalHead()
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(1))
    plain = evaluate_episodes(features, sampler, head, 30)
    for image_ids in (order, order.numpy()):
        shuffled = evaluate_episodes(features[order], sampler, head, 30, image_ids)
        np.testing.assert_array_equal(shuffled.accuracies, plain.accuracies)
    assert shuffled.stream == plain.stream


def test_more_episodes_extend_the_same_list():
    features, sampler, head = features_of(), sampler_of(), PrototypicalHead()
    many = evaluate_episodes(features, sampler, head, 40)
    np.testing.assert_array_equal(
        evaluate_episodes(features, sampler, head, 15).accuracies, many.accuracies[:15]
    )


def test_separated_classes_are_told_apart_and_a_blind_head_guesses():
    assert evaluate_episodes(features_of(separation=100), sampler_of(), PrototypicalHead(), 100).mean == 1
    rng = torch.Generator().manual_seed(0)

    def blind(support, support_labels, query, n_way):
        return torch.rand(*query.shape[:2], n_way, generator=rng)

    scores = evaluate_episodes(features_of(), sampler_of(), blind, 2000)
    assert abs(scores.mean - 1 / 3) < 5 * (2 / 9 / (2000 * 15)) ** 0.5  # 5 standard errors of 30,000 guesses
    assert scores.half_width == pytest.approx(1.96 * (2 / 9 / (2000 * 15)) ** 0.5, rel=0.1)


def test_a_prediction_does_not_depend_on_the_other_queries():
    """The law of an inductive protocol; it holds for any head whose scores are called so."""
    rng = torch.Generator().manual_seed(0)
    support, query = torch.randn(2, 6, 8, generator=rng), torch.randn(2, 9, 8, generator=rng)
    labels = torch.tensor([[0, 0, 1, 1, 2, 2]] * 2)
    head = PrototypicalHead().eval()
    together = head(support, labels, query, 3)
    alone = torch.cat([head(support, labels, query[:, i : i + 1], 3) for i in range(9)], dim=1)
    torch.testing.assert_close(alone, together)
    changed = torch.cat([query[:, :1], 100 * query[:, 1:]], dim=1)
    torch.testing.assert_close(head(support, labels, changed, 3)[:, 0], together[:, 0])


def test_bad_input_is_named():
    features, sampler, head = features_of(), sampler_of(), PrototypicalHead()
    with pytest.raises(ValueError, match="`n_episodes=0`"):
        evaluate_episodes(features, sampler, head, 0)
    with pytest.raises(ValueError, match="NaN or an infinity"):
        evaluate_episodes(features / 0, sampler, head, 1)
    with pytest.raises(ValueError, match=r"7 of the 67 images .* have no row in `features` \(60 rows\)"):
        evaluate_episodes(features[:60], sampler, head, 1)
    with pytest.raises(ValueError, match=r"`image_ids` has shape \[60\], 67 rows need \[67\]"):
        evaluate_episodes(features, sampler, head, 1, np.arange(60))
    with pytest.raises(ValueError, match=r"floats of shape \[n, D\], or maps .*, found torch.int64 \[67\]"):
        evaluate_episodes(torch.arange(67), sampler, head, 1)
