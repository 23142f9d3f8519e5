"""A level is held where the front reaches it, at no cost to main; where it does not, that is said."""

import numpy as np
import pytest

from psst.pareto import FixedWeights, Levels
from tests.pareto.descent import Conditions, descend
from tests.pareto.problems import isotropic, vlmop2

WEIGHTS = np.geomspace(0.01, 100.0, 25)


def starts_of(problem, n_seeds, each):
    return np.stack([problem.starts(seed) for seed in range(n_seeds)]).repeat(each, axis=0)


@pytest.mark.parametrize("n_seeds", [1, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("maker", [lambda: isotropic(2), vlmop2], ids=["convex", "concave"])
def test_a_level_is_held_and_main_is_as_good_as_with_the_best_fixed_weight(maker, n_seeds):
    """Held within 10%; on the concave front fixed weights reach a level only at the other task's end."""
    problem = maker()
    largest = problem.front[:, 1].max()
    levels = np.tile([0.2 * largest, 0.5 * largest, 0.8 * largest], n_seeds)
    found = descend(
        problem, [Levels({"other 1": float(level)}) for level in levels], starts_of(problem, n_seeds, 3)
    ).losses
    fixed = descend(problem, [FixedWeights(weight) for weight in WEIGHTS], starts_of(problem, 1, 25)).losses
    assert (found[:, 1] <= 1.1 * levels).all()
    for (main, _), level in zip(found, levels, strict=True):
        assert main <= fixed[fixed[:, 1] <= level, 0].min() + 1e-3


def test_a_level_below_the_front_is_unreachable_and_said_so():
    """Wells over a floor of 0.5: no weights bring the other loss to 0.4."""
    problem = isotropic(2).with_floor(0.5)
    method = Levels({"other 1": 0.4})
    ending = descend(problem, [method], problem.starts(0)[None], Conditions(longer=4.0))
    assert method.state_dict()["watches"]["1"]["unreachable"]
    assert ending.losses[0, 1] <= 0.55
