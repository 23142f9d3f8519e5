import numpy as np
import pytest

from psst.evaluation import EpisodeScores, class_difference


def scores_of(accuracies, stream="a1"):
    accuracies = np.asarray(accuracies, dtype=np.float32)
    return EpisodeScores(accuracies, accuracies, stream=stream, seed=0, n_way=5, n_shot=1, n_query=15)


def test_pairing_removes_what_the_episodes_share():
    rng = np.random.default_rng(0)
    difficulty, noise = rng.random(500), 0.01 * rng.standard_normal((2, 500))
    a, b = scores_of(difficulty + 0.02 + noise[0]), scores_of(difficulty + noise[1])
    difference = class_difference({"all": a}, {"all": b})
    expected = a.accuracies.astype(float) - b.accuracies
    assert difference.mean == pytest.approx(expected.mean())
    assert difference.half_width == pytest.approx(1.96 * expected.std(ddof=1) / np.sqrt(500))
    assert difference.half_width < 0.1 * a.half_width
    back = class_difference({"all": b}, {"all": a})
    assert (back.mean, back.half_width, back.n) == pytest.approx(
        (-difference.mean, difference.half_width, 500)
    )
    assert class_difference({"all": a}, {"all": a}).half_width == 0


@pytest.mark.parametrize("other", [scores_of([0.5] * 4, "b2"), scores_of([0.5] * 3)])
def test_different_episodes_are_not_paired(other):
    with pytest.raises(
        ValueError, match=r"different episodes .*4 episodes, seed 0, stream a1 against .*stream"
    ):
        class_difference({"all": scores_of([0.5] * 4)}, {"all": other})
