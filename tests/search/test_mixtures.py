"""Trade-offs that looks try, what a look says of them, and the weights that they are trained with."""

from pathlib import Path

import numpy as np
import pytest

from psst.evaluation import EpisodeScores
from psst.pareto import RelativeWeights, StepState
from psst.search import choose
from psst.search.mixture import (
    MAIN_ONLY,
    Mixture,
    alone,
    by_methods,
    mixed,
    singles,
    weight_grid,
)
from psst.search.settings import USUAL, varied
from psst.search.unit import Candidate, Measured, Unit

TASKS = ["rotation", "classes", "contrast"]


@pytest.mark.parametrize("auxiliary", [TASKS[:1], TASKS])
def test_every_look_tries_main_only_first_and_nothing_else_twice(auxiliary):
    best = dict.fromkeys(auxiliary, 1.0)
    for tried in (singles(auxiliary), mixed(best, auxiliary)):
        assert tried[0] == MAIN_ONLY
        names = [mixture.name(auxiliary) for mixture in tried if mixture.weights]
        assert len(set(names)) == len(names)


def test_a_grid_has_three_weights_a_task():
    assert len(weight_grid(TASKS)) == 9


def test_mixtures_join_the_tasks_that_were_ahead():
    tried = mixed({"rotation": 1.0, "contrast": 0.3}, TASKS)
    assert Mixture((("rotation", 1.0), ("contrast", 0.3))) in tried
    assert Mixture((("rotation", 0.5), ("contrast", 0.15))) in tried
    assert all("classes" not in mixture.tasks for mixture in tried)


def test_what_holds_back_is_tried_beside_the_best_though_it_was_behind():
    tried = mixed({"contrast": 0.3, "rotation": 1.0}, [*TASKS, "preserve"], raw=["preserve"])
    assert tried[-1] == Mixture((("contrast", 0.3), ("preserve", 1.0)))
    assert mixed({}, TASKS, raw=["classes"]) == [MAIN_ONLY]
    assert mixed({"classes": 1.0}, TASKS, raw=["classes"]) == mixed({"classes": 1.0}, TASKS)


def test_a_module_that_has_more_losses_gives_the_others_no_weight():
    method = alone("classes", 0.3).weighing(["main", *TASKS], ["contrast"], Path())
    assert (list(method.auxiliary), list(method.raw)) == ([0.0, 0.3, 0.0], [2])
    assert MAIN_ONLY.weighing(["main"], [], Path()) is None


def test_relative_weights_are_free_of_the_scale_of_an_auxiliary_loss():
    """w_i g_i is the same when loss i, and so g_i, is multiplied by a constant."""

    def decided(factor):
        method = RelativeWeights([0.3, 1.0], raw=[1])
        method.start(3)
        losses = np.array([2.0, 5.0 * factor, 0.1])
        return method.decide(StepState(None, losses, np.log(losses), 0)).weights

    for factor in (0.01, 1.0, 100.0):
        weights = decided(factor)
        assert weights[0] == 1.0
        assert weights[1] * 5.0 * factor == pytest.approx(0.3 * 2.0, rel=1e-12)
        assert weights[2] == 1.0


def test_relative_weights_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"`auxiliary=\[-1\.0\]`"):
        RelativeWeights([-1.0])
    with pytest.raises(ValueError, match="weighs 1 losses, the module has 2"):
        RelativeWeights([1.0]).start(3)


def scores(mean, seed, n=200, classes=20):
    """Episodes of 5 of 20 classes whose accuracies scatter by a tenth round a mean."""
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.permutation(classes)[:5] for _ in range(n)]).astype(np.int32)
    drawn = np.random.default_rng(seed + 1).normal(0, 0.1, n)
    accuracies = (mean + drawn).astype(np.float32)
    return {"all": EpisodeScores(accuracies, 1 - accuracies, "s", 0, 5, 1, 15, ids)}


def candidate(mixture, mean, look=1, training=None, noise=0, members=(), unit="", line="search"):
    found = scores(mean, noise)
    value = found["all"].mean
    result = {"training": training or {}, "steps": 9}
    name, measured = mixture.name(TASKS), Measured(value, value, found)
    unit = Unit(unit or name, mixture, 0, 9, 9, members=members)
    return Candidate(name, unit, line, measured, result, look)


FOUND = [
    candidate(MAIN_ONLY, 0.70),
    candidate(alone("rotation"), 0.60),
    candidate(alone("classes"), 0.80, training={"classes": 2.0}),
    candidate(alone("contrast"), 0.80001),
]


def test_what_was_not_learned_is_not_told_from_noise():
    chance = {"classes": 2.01, "rotation": 1.0}
    kept = [one.unit.mixture.tasks for one in FOUND if choose.learned(one, chance)]
    assert ("classes",) not in kept
    assert () in kept
    assert len(kept) == len(FOUND) - sum("classes" in one.unit.mixture.tasks for one in FOUND)


def test_the_average_of_all_branches_is_preferred_unless_one_is_clearly_ahead():
    soup = candidate(MAIN_ONLY, 0.79, members=("a", "b", "c"))
    small = candidate(MAIN_ONLY, 0.795, members=("a", "b"))
    assert choose.preferred([*FOUND, soup]) is FOUND[3]  # paired, 0.01 is far beyond its error
    noisy = candidate(alone("classes"), 0.795, noise=7)
    assert choose.preferred([noisy, soup]) in (soup, noisy)
    gap = noisy.measured - soup.measured
    assert (choose.preferred([noisy, soup]) is soup) == (gap.mean <= 2 * gap.standard_error)
    assert choose.preferred([small, soup]) is small
    assert choose.preferred(FOUND) is FOUND[3]


def test_the_average_of_branches_of_one_trade_off_stands_whatever_validation_says():
    branches = [candidate(MAIN_ONLY, 0.7 + 0.1 * i, unit=name) for i, name in enumerate("abc")]
    soup = candidate(MAIN_ONLY, 0.79, members=("a", "b", "c"))
    assert choose.preferred([*branches, soup]) is soup
    other = candidate(alone("classes"), 0.9, unit="d")
    assert choose.preferred([*branches, other, soup]) is other
    assert (
        choose.preferred([*branches[:2], candidate(alone("classes"), 0.9, unit="c"), soup]).unit.name == "c"
    )


def test_a_task_is_ahead_where_it_beats_main_only_and_keeps_its_best_weight():
    assert [one.unit.mixture.tasks for one in choose.ahead(FOUND)] == [("contrast",), ("classes",)]
    assert choose.best_weights(FOUND) == {"contrast": 1.0, "classes": 1.0}
    assert choose.best_weights([*FOUND, candidate(alone("classes", 3.0), 0.9)])["classes"] == 3.0


def test_evidence_on_a_task_is_its_branch_against_main_only_of_the_same_look():
    assert choose.task_evidence("classes", FOUND).mean == pytest.approx(0.1, abs=1e-3)
    assert choose.task_evidence("rotation", FOUND).worse
    assert choose.task_evidence("nothing", FOUND) is None
    later = [candidate(MAIN_ONLY, 0.9, look=2), candidate(alone("classes"), 0.8, look=2)]
    assert choose.task_evidence("classes", [*FOUND, *later]).mean == pytest.approx(-0.1, abs=1e-3)


def test_a_loss_at_its_chance_level_was_not_learned():
    assert choose.unlearned("classes", FOUND, {"classes": 2.01}) == (2.0, 9)
    assert choose.unlearned("classes", FOUND, {"classes": 3.0}) is None
    assert choose.unlearned("rotation", FOUND, {"rotation": 1.0}) is None


def test_what_is_ahead_is_tried_again_and_nothing_else():
    tried = choose.tried_again(FOUND)
    contrast = [alone("contrast", weight) for weight in (1.0, 0.33, 3.0)]  # a third of it, and three times
    assert tried == [MAIN_ONLY, *contrast, alone("classes")]
    behind = [candidate(MAIN_ONLY, 0.9), candidate(alone("classes"), 0.5)]
    assert choose.tried_again(behind) == [MAIN_ONLY]
    assert mixed(choose.best_weights(behind), TASKS) == [MAIN_ONLY]


def test_folds_are_one_measurement_over_all_their_classes():
    merged = choose.merged([FOUND[0].measured, FOUND[2].measured])
    assert merged.metric == pytest.approx(0.75, abs=0.01)
    assert list(merged.scores) == ["0/all", "1/all"]
    assert (merged - merged).mean == 0


def test_shards_give_a_standard_error_where_there_are_no_classes():
    rng = np.random.default_rng(0)
    one, other = rng.normal(1.0, 0.1, 8), rng.normal(0.0, 0.1, 8)
    gap = Measured(1.0, 1.0, shards=one) - Measured(0.0, 0.0, shards=other)
    assert gap.better
    assert gap.half_width == pytest.approx(2 * (one - other).std(ddof=1) / 8**0.5)
    alone_gap = Measured(1.0, 1.0) - Measured(0.0, 0.0)
    assert alone_gap.half_width == np.inf
    assert not alone_gap.better


def test_settings_with_fewer_departures_come_first():
    vary = {"length": [1, 0.5], "rate": [1, 0.3, 3], "model.dropout": [0, 0.5]}
    settings = varied(vary)
    assert len(settings) == len(set(settings)) == 12
    assert settings[0] == USUAL
    departures = [(one.length != 1) + (one.rate != 1) + len(one.options) for one in settings]
    assert departures == sorted(departures)
    assert [one.name("main only") for one in settings[1:5]] == [
        "main only, dropout=0.5",
        "main only, lr x 0.3",
        "main only, lr x 3",
        "main only, 0.5 T",
    ]


def test_methods_are_tried_over_all_tasks_and_over_those_that_help():
    tasks = ["a", "b", "keep"]
    found = by_methods(["a"], tasks, ["upgrad"])
    assert [one.name(tasks) for one in found] == ["upgrad", "upgrad a"]
    assert by_methods([], tasks, ["upgrad"]) == found[:1]
