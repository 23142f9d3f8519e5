"""What a search says: one line first, a sentence for each task, ten rows, a picture that can be read."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import vl_convert
from rich.console import Console

from psst.search.charts import tradeoffs
from psst.search.course import Found
from psst.search.mixture import MAIN_ONLY, alone, together
from psst.search.report import _first_line, _task_sentence, metrics, print_report, sentences
from psst.search.result import SearchResult
from psst.search.unit import Metric
from tests.search.test_mixtures import candidate, scores

TASKS = ["rotation", "classes", "contrast"]


def measured(mean, noise=0):
    return candidate(MAIN_ONLY, mean, noise=noise).measured


def result_of(found, rivals=None, tests=None, costs=None, chance=None):
    """A search and its plain rival, without any training."""
    lines = {"search": Found("search", found, found)}
    for name, model in (rivals or {"plain": candidate(MAIN_ONLY, 0.71)}).items():
        lines[name] = Found(name, [model], [model])
    result = SearchResult(
        Metric("val_accuracy", "max", "accuracy", "%"),
        ["main", *TASKS],
        lines,
        Path("best.ckpt"),
        costs=costs or dict.fromkeys(TASKS, 1.0),
        chance=chance or {},
    )
    result.tests = {name: measured(value) for name, value in (tests or {}).items()}
    return result


BRANCHES = [
    candidate(MAIN_ONLY, 0.70),
    candidate(alone("rotation"), 0.60),
    candidate(alone("classes"), 0.80, training={"classes": 2.0}),
    candidate(together(TASKS), 0.65),
]


def test_the_first_line_says_what_is_handed_over_and_what_it_gains_over_plain():
    result = result_of(BRANCHES, tests={"search": 0.75, "plain": 0.70})
    line = _first_line(result)
    assert line.startswith("Handed over: classes=1 (found by the search); test accuracy 74.")
    assert "+5.00 ± " in line
    plain = result_of(BRANCHES[:2], {"plain": candidate(MAIN_ONLY, 0.9)})
    assert "(of `plain`: nothing is clearly ahead of it on validation)" in _first_line(plain)


@pytest.mark.parametrize(("simpler", "errors"), [("plain", 2), ("frozen", 1)])
def test_the_simpler_is_handed_over_where_nothing_is_clearly_ahead_of_it(simpler, errors):
    """The errors of a pair are those of classes and episodes; here noise of one is all there is."""
    for lead in (0.0002, 0.05):
        found = candidate(alone("classes"), 0.70 + lead, noise=3)
        result = result_of([found], {simpler: candidate(MAIN_ONLY, 0.70)})
        gap = found.measured - result.finals[simpler].measured
        assert (
            (result.handed_over == simpler) == (gap.mean <= errors * gap.standard_error) == (lead < 0.01)
        ), lead


@pytest.mark.parametrize(
    ("task", "costs", "chance", "said"),
    [
        ("classes", {}, {}, "classes: helps (+10.00"),
        (
            "classes",
            {},
            {"classes": 2.01},
            "classes: not learned in the 9 steps that a look gave it (its loss 2.000 is",
        ),
        ("rotation", {"rotation": 2.0}, {}, "rotation: does not pay for its passes (-10.00"),
        ("rotation", {"rotation": 1.0}, {}, "rotation: harms"),
        ("contrast", {}, {}, "contrast: no look has tried it by itself"),
    ],
)
def test_a_sentence_says_what_a_task_does(task, costs, chance, said):
    assert _task_sentence(result_of(BRANCHES, costs=costs, chance=chance), task).startswith(said)


def test_a_difference_within_its_noise_is_not_called_help():
    noisy = [candidate(MAIN_ONLY, 0.7), candidate(alone("classes"), 0.702, noise=3)]
    for one in noisy:
        one.measured.scores["all"].accuracies[:] = scores(one.quality, one is noisy[1])["all"].accuracies
    assert _task_sentence(result_of(noisy), "classes").startswith("classes: not shown to help")


def test_where_main_only_still_improves_the_report_says_train_longer():
    later = [*BRANCHES, candidate(MAIN_ONLY, 0.9, look=2)]
    assert any("train longer" in line for line in sentences(result_of(later)))
    level = [*BRANCHES, candidate(MAIN_ONLY, 0.70, look=2)]
    assert not any("train longer" in line for line in sentences(result_of(level)))


def test_at_most_ten_models_are_shown_best_first_and_every_final_among_them():
    many = [candidate(alone("classes", 1 + i), 0.5 + i / 100) for i in range(30)]
    result = result_of(many, {"plain": candidate(MAIN_ONLY, 0.1)})
    text = io.StringIO()
    print_report(result, Path("out"), Console(file=text, width=120))
    rows = [
        line.split() for line in text.getvalue().splitlines() if "classes=" in line or "main only " in line
    ]
    rows = [row for row in rows if row[0] != "Handed"]
    assert len(rows) == 10
    assert "best of plain" in " ".join(rows[-1])


def test_metrics_hold_candidates_in_percent_and_paired_differences():
    found = metrics(result_of(BRANCHES, tests={"search": 0.75, "plain": 0.70}))
    assert found["handed_over"] == "search"
    assert found["candidates"]["search"]["test"] == pytest.approx(75, abs=2)
    assert set(found["differences"]) == {"search - plain", "handed_over - plain"}
    low, high = found["differences"]["search - plain"]["interval"]
    assert low <= 5 <= high


def test_each_trade_off_has_a_line_of_its_own_in_the_picture_and_rivals_are_marked():
    soup = candidate(together(["rotation", "classes"]), 0.81)
    drawing = vl_convert.vegalite_to_svg(tradeoffs(result_of([*BRANCHES, soup])).to_dict())
    labels = re.findall(r'translate\([^,]+,([\d.]+)\)"[^>]*font-size="(\d+)px"[^>]*>([^<]+)</text>', drawing)
    names = {one.name for one in [*BRANCHES, soup]}
    places = [(float(top), float(size)) for top, size, text in labels if text in names]
    assert len(places) == len(names)
    gaps = np.diff([top for top, _ in places])
    assert gaps.min() >= max(size for _, size in places)
    assert drawing.count("mark-rule role-mark") == 2  # intervals, and what rivals have
