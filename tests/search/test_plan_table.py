"""`psst search --plan`: what would be trained, from the schedule that the search itself follows."""

import pytest

from psst.cli import main
from psst.search.plan_table import plan, summary
from psst.search.settings import SearchSettings
from psst.search.units import Schedule

SETTINGS = SearchSettings()


def test_a_plan_costs_what_its_units_cost():
    schedule = Schedule(SETTINGS, 1000, ["rotation"])
    lines = plan(schedule, SETTINGS, {}, None)
    own = [schedule.warm, *schedule.anchors, *schedule.subproblems("rays.npz", 4)]
    baselines = schedule.max_steps * (len(schedule.baselines) - 1)  # one is an anchor already
    assert sum(line.steps for line in lines) == sum(unit.steps for unit in own) + baselines == 8200
    assert "8200 steps, 8.20 T; 8200 steps, 8.20 T, are left" in summary(lines, 1000, None)


def test_finished_units_are_left_out_of_what_is_left_and_tell_the_time():
    schedule = Schedule(SETTINGS, 1000, ["rotation"])
    lines = plan(schedule, SETTINGS, {"warm": {}, "anchor-0": {}}, 3)
    text = summary(lines, 1000, pace=0.3, workers=2)
    left = 8200 - 600 - 400 - 400  # one ray fewer than expected
    assert f"{left} steps, {left / 1000:.2f} T, are left" in text
    assert "about 34 min at 0.300 s a step, at best 17 with 2 workers" in text
    names = {line.name for line in lines}
    assert "subproblem-2" in names
    assert "subproblem-3" not in names


def test_the_command_writes_nothing(tmp_path, capfd):
    output = tmp_path / "out"
    assert main(["search", "--config=quickstart", "--output", str(output), "--plan"]) == 0
    printed = capfd.readouterr().out
    assert "1640 steps, 8.20 T" in printed
    assert [line.split()[0] for line in printed.splitlines() if line.strip()][2:5] == [
        "warm",
        "anchor-0",
        "anchor-0.1",
    ]
    assert not output.exists()


@pytest.mark.parametrize("baselines", [True, False])
def test_without_baselines_nothing_is_tested_beside_the_choice(baselines):
    settings = SearchSettings(baselines=baselines)
    lines = plan(Schedule(settings, 1000, ["rotation"]), settings, {}, None)
    assert ("baselines" in lines[-1].name) is baselines
    assert any(line.name == "plain" for line in lines) is baselines
