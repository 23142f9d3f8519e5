"""What a search may take, and what it tells of the time left."""

import io
import json
import time
from pathlib import Path

import pytest

import psst.search.progress
from psst.search.budget import Budget, read_budget, solved
from psst.search.folds import make_course
from psst.search.mixture import MAIN_ONLY
from psst.search.progress import SearchProgress, _read_progress, write_progress
from psst.search.record import unit_path
from psst.search.settings import SearchSettings
from psst.search.unit import Unit
from tests.search.small import command


class Costs:
    """A judge that knows names and costs only."""

    def task_names(self):
        return ["main", "rotation", "classes"]

    def cost(self, tasks):
        return 1.0 + len(tasks)


@pytest.mark.parametrize(("text", "seconds"), [("45s", 45), ("30m", 1800), ("1.5h", 5400), ("2 min", 120)])
def test_times_are_read(text, seconds):
    assert read_budget(text, None).seconds == seconds


@pytest.mark.parametrize(
    ("given", "named"),
    [(("soon", None), "--budget soon"), (("0s", None), "--budget 0s"), ((None, 0), "--budget-steps 0")],
)
def test_what_makes_no_sense_is_named_as_typed(given, named):
    with pytest.raises(ValueError, match=f"`{named}`"):
        read_budget(*given)


def test_two_budgets_exclude_each_other():
    with pytest.raises(ValueError, match="exclude each other"):
        read_budget("1h", 100)


@pytest.mark.parametrize("passes", [700, 5000, 40_000])
def test_the_longest_training_within_the_budget_is_found(tmp_path, passes):
    settings, judge = SearchSettings(), Costs()
    steps = solved(Budget(None, passes, "x"), judge, settings, tmp_path)

    def needed(length):
        """The search and three rivals that cost as much."""
        return 4 * make_course(judge, settings, length, tmp_path, "").passes

    assert needed(steps) <= passes < needed(steps + 1)


def test_a_budget_that_pays_for_nothing_says_what_the_shortest_search_takes(tmp_path):
    with pytest.raises(
        ValueError, match=r"`--budget-steps 3` pays for no search: the shortest one takes \d+"
    ):
        solved(read_budget(None, 3), Costs(), SearchSettings(), tmp_path)


def test_a_search_keeps_to_its_passes_and_to_its_length_when_it_goes_on(tmp_path, capsys):
    folder = tmp_path / "out"
    assert command(folder, "--budget-steps=80", "--search.rivals=[plain]") == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["total_passes"] <= 1.25 * 80  # steps of branches are rounded
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("model.ckpt")}
    assert command(folder, "--budget-steps=80", "--search.rivals=[plain]") == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("model.ckpt")} == before


def test_the_plan_holds_the_passes_of_the_course(capsys, tmp_path):
    settings, judge = SearchSettings(), Costs()
    rows = make_course(judge, settings, 1000, Path(), "").rows()
    own = sum(row.passes for row in rows if not row.label.startswith("rival"))
    assert 1000 < own <= 1160  # with two auxiliary tasks at most 1.16 T
    assert {row.label: row.passes for row in rows if row.label.startswith("rival")} == {
        f"rival: {name}": pytest.approx(own) for name in ("plain", "fixed", "grid")
    }
    assert command(tmp_path / "out", "--plan") == 0
    printed = capsys.readouterr().out
    assert "rival: plain" in printed
    assert "ms a pass" in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_plan_holds_as_many_rays_as_the_course_follows(count, tmp_path):
    class Tasks(Costs):
        def task_names(self):
            return ["main", *(f"task {number}" for number in range(count))]

    course = make_course(Tasks(), SearchSettings(course="paper"), 100, tmp_path, "")
    [row] = course.own_rows()
    assert row.number == len(course._tries(course.looks[0], ()))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def work(name, passes):
    return Unit(name, MAIN_ONLY, 0, 10, 10, passes=passes)


def until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert true()


def test_the_time_left_counts_passes_and_ends_near_zero(tmp_path):
    progress = SearchProgress(125.0, tmp_path, Terminal())
    progress.known(work("earlier", 25.0))
    shares = []
    for number in range(4):
        one = work(f"unit{number}", 25.0)
        unit_path(tmp_path, one.name).mkdir(parents=True)
        progress.begin(one)
        write_progress(unit_path(tmp_path, one.name), 0, 5)
        expected = f"{100 * (number + 0.5) / 4:.0f}%"
        until(lambda expected=expected: progress.time_left().startswith(expected))
        shares.append(progress.time_left())
        progress.end(one, "done")
    assert all("min left" in text for text in shares)
    assert progress.time_left() == "nearly done"
    progress.close()


def test_what_an_earlier_run_has_trained_of_a_unit_costs_no_time_now(tmp_path):
    progress, one = SearchProgress(10.0, tmp_path, Terminal()), work("look1", 10.0)
    unit_path(tmp_path, one.name).mkdir(parents=True)
    progress.begin(one)
    write_progress(unit_path(tmp_path, one.name), 6, 8)
    until(lambda: progress.time_left().startswith("50%"))
    assert progress.total == pytest.approx(4.0)
    progress.close()


def test_a_heartbeat_is_written_where_there_is_no_terminal(monkeypatch, tmp_path):
    monkeypatch.setattr(psst.search.progress, "_HEARTBEAT", 0.2)
    stream = io.StringIO()
    progress = SearchProgress(10.0, tmp_path, stream)
    progress.begin(work("look1", 10.0))
    until(lambda: "look1 step 0" in stream.getvalue())
    progress.close()


def test_progress_of_other_processes_is_read_and_damage_is_nothing(tmp_path):
    write_progress(tmp_path, 3, 9)
    assert _read_progress(tmp_path) == (3, 9)
    (tmp_path / "progress.json").write_text("[1")
    assert _read_progress(tmp_path) is None
