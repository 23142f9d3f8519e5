"""A whole search by the command: what it trains, at what cost, what it hands over, and what it keeps."""

import json
import shutil

import numpy as np
import pytest
import torch

from psst.search.course import lay_out
from psst.search.settings import Look, SearchSettings
from tests.search.small import command, results


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "out"
    assert command(folder) == 0
    return folder


def read(folder, name="metrics.json"):
    return json.loads((folder / name).read_text())


def weights(folder, name):
    return torch.load(folder / "units" / name / "model.ckpt", weights_only=True)["state_dict"]


def test_what_is_handed_over_is_the_best_of_the_finals_on_validation_or_plain(whole):
    metrics = read(whole)
    best = max(one["validation"] for one in metrics["candidates"].values())
    name = metrics["handed_over"]
    assert name == "plain" or metrics["candidates"][name]["validation"] == best
    assert set(metrics["candidates"]) == {"search", "plain", "fixed", "grid"}
    handed = next(row for row in read(whole, "front.json") if row["handed_over"])
    chosen = torch.load(whole / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(chosen[key], value) for key, value in weights(whole, handed["unit"]).items())


def test_rivals_cost_what_the_search_costs(whole):
    """In passes, within the rounding of steps and averages."""
    costs = {name: one["passes"] for name, one in read(whole)["candidates"].items()}
    for name, passes in costs.items():
        assert passes == pytest.approx(costs["search"], rel=0.25), name  # branches of 3 steps round coarsely
    assert read(whole)["total_passes"] == pytest.approx(sum(costs.values()))


def test_differences_are_paired_and_carry_intervals(whole):
    metrics = read(whole)
    gap = metrics["differences"]["search - plain"]
    tests = metrics["candidates"]
    assert gap["test"] == pytest.approx(tests["search"]["test"] - tests["plain"]["test"], abs=1e-4)
    low, high = gap["interval"]
    assert low <= gap["test"] <= high
    for one in tests.values():
        assert one["test_interval"][0] <= one["test"] <= one["test_interval"][1]


def test_a_soup_is_the_mean_of_its_members_with_statistics_of_its_own(whole):
    soup = next(row for row in read(whole, "front.json") if row["name"] == "soup of 2")
    mixed, parts = weights(whole, soup["unit"]), [weights(whole, name) for name in soup["members"].split()]
    for key, value in mixed.items():
        if "running" in key or not value.is_floating_point():
            continue
        expected = torch.stack([part[key].double() for part in parts]).mean(dim=0).float()
        assert torch.equal(value, expected), key


def test_branches_of_one_trade_off_see_other_batches(whole):
    """The same weights on the same batches would give one model twice."""
    names = [name for name in results(whole) if name.startswith("plain-look")]
    assert len(names) == 2
    one, other = (weights(whole, name) for name in names)
    assert not all(torch.equal(one[key], other[key]) for key in one)


def test_the_branches_go_on_from_the_trunk(whole):
    steps = {
        name: torch.load(whole / "units" / name / "model.ckpt", weights_only=True)["global_step"]
        for name, result in results(whole).items()
        if "metric" in result and result["steps"]
    }
    trunk = results(whole)["trunk-1"]["steps"]
    for name, step in steps.items():
        if name.startswith("look1"):
            assert step == trunk + results(whole)[name]["steps"]


def test_a_look_without_branches_leaves_its_passes_to_the_trunk(tmp_path):
    """Main only is never ahead of itself: the second look tries nothing, and the third is as planned."""
    looks = (
        '[{"at": 0.2, "length": 0.1, "tries": [{}, {}]}, '
        '{"at": 0.5, "length": 0.1, "tries": "mixtures", "at_most": 0.3}, '
        '{"at": 0.7, "length": 0.15, "tries": [{}, {"rotation": 0.5}], "at_most": 0.3}]'
    )
    folder = tmp_path / "out"
    assert command(folder, "--search.looks", looks, "--search.rivals=[plain]") == 0
    units = {
        path.parent.name: json.loads(path.read_text())["unit"] for path in folder.glob("units/*/unit.json")
    }
    assert not [name for name in units if name.startswith(("look2-", "merged-2"))]
    assert units["merged-1"]["members"] == ["look1-main-only", "look1-main-only-(2)"]
    assert (units["trunk-2"]["parent"], units["trunk-3"]["parent"]) == ("merged-1", "trunk-2")
    step = torch.load(folder / "units" / "trunk-2" / "model.ckpt", weights_only=True)["global_step"]
    assert units["trunk-3"]["start"] == step
    last = {name: one["passes"] for name, one in units.items() if name.startswith("look3-")}
    assert set(last) == {"look3-main-only", "look3-w=0.5"}
    assert sum(last.values()) == pytest.approx(0.3 * 20, rel=0.25)  # branches of 2 or 3 steps round coarsely
    planned, saved = 0.2 * 20, 3 * 0.1 * 20  # the second look was planned with three branches
    assert units["trunk-3"]["passes"] == pytest.approx(planned + saved)


def test_the_table_of_a_front_holds_every_judged_model(whole):
    judged = {name for name, result in results(whole).items() if "metric" in result}
    judged -= {name for name in judged if name.startswith("merged-")}  # what a trunk goes on from
    rows = read(whole, "front.json")
    assert {row["unit"] for row in rows} == judged
    values = [row["val_accuracy"] for row in rows]
    assert values == sorted(values, reverse=True)
    assert (whole / "front.csv").read_text().count("\n") == len(rows) + 1
    assert (whole / "front.png").read_bytes().startswith(b"\x89PNG")
    assert "<h1>Handed over: " in (whole / "report.html").read_text(encoding="utf-8")


def test_a_second_run_keeps_everything(whole, capsys):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("model.ckpt")}
    front = (whole / "front.json").read_text()
    assert command(whole) == 0
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("model.ckpt")} == before
    assert (whole / "front.json").read_text() == front
    assert "finished earlier" in capsys.readouterr().err


@pytest.fixture
def copied(whole, tmp_path):
    """The same search in another place."""
    return shutil.copytree(whole, tmp_path / "out")


def trained_anew(folder, whole):
    same = whole / "units"
    return {
        path.parent.name
        for path in folder.rglob("model.ckpt")
        if path.stat().st_mtime_ns != (same / path.parent.name / "model.ckpt").stat().st_mtime_ns
    }


@pytest.mark.parametrize("damage", ["unit", "scores", "manifest"])
def test_what_is_damaged_is_named_and_made_anew(copied, whole, damage, capsys):
    name = next(row["unit"] for row in read(copied, "front.json") if row["look"] == 2 and not row["members"])
    if damage == "manifest":
        (copied / "manifest.json").write_text((copied / "manifest.json").read_text()[:200])
    elif damage == "unit":
        (copied / "units" / name / "model.ckpt").unlink()
    else:
        (copied / "units" / name / "val_scores.npz").write_bytes(b"PK")
    assert command(copied) == 0
    said = capsys.readouterr().err
    assert ("`" if damage == "manifest" else name) in said
    assert "damaged" in said
    assert (copied / "front.json").read_text() == (whole / "front.json").read_text()
    assert trained_anew(copied, whole) <= ({name} if damage != "manifest" else set())
    assert results(copied).keys() == results(whole).keys()


def test_a_changed_log_interval_or_worker_setting_keeps_what_is_finished(copied, whole):
    assert command(copied, "--trainer.log_every_n_steps=7") == 0
    assert not trained_anew(copied, whole)


def test_more_branches_keep_the_trunk(copied, whole):
    assert command(copied, "--search.rivals=[plain]", "--search.rays=1") == 0
    anew = trained_anew(copied, whole)
    assert "trunk-1" not in anew
    assert "trunk-2" not in anew


def test_another_model_or_seed_is_refused_and_changes_nothing(copied, whole):
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"search of another model, data or seed:[\s\S]*seed_everything: 1"):
        command(copied, "--seed_everything=1")
    after = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()}
    assert after == before


def test_looks_keep_to_their_passes_and_the_last_one_uses_them_up():
    settings = SearchSettings()
    for tasks, most, whole in ("a", 0.15, 1.3), ("abc", 0.25, 1.5):
        looks = settings.course_of(tasks)
        for passes in (700, 1000, 2000, 20000):
            spent = 0.0
            for number, look in enumerate(looks, 1):
                layout = lay_out(look, [object()] * 9, passes, settings, number == len(looks))
                total = layout.passes * len(layout.mixtures)
                if number < len(looks):
                    spent += total
                    assert total <= look.at_most * passes * (1 + 1e-9)
                else:
                    assert total == pytest.approx(look.at_most * passes)
                    assert layout.passes >= min(settings.least_last_steps, look.at_most * passes)
            assert spent <= most * passes
            assert looks[-1].at + looks[-1].at_most + spent / passes <= whole


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"course": "trunks"}, "nearest is `trunk`"),
        ({"rivals": ("plane",)}, "nearest is `plain`"),
        ({"threads": 0}, "`search.threads=0`"),
        ({"rays": -1}, "`search.rays=-1`"),
        ({"looks": [Look(0.7), Look(0.3)]}, "follow one another"),
        ({"looks": [Look(0.0), Look(0.3)]}, "have no trunk"),
    ],
)
def test_impossible_settings_name_the_key(change, named):
    with pytest.raises(ValueError, match=named):
        SearchSettings(**change)


@pytest.mark.parametrize(
    "arguments",
    [
        *({"at": 1.0}, {"length": 0.0}, {"at": 0.5, "folds": 3}, {"at_most": 0.01}),
        *({"tries": tries} for tries in ("all", [], [{"rotation": 0}])),
    ],
)
def test_impossible_looks_name_the_key(arguments):
    with pytest.raises(ValueError, match=r"`search\.looks"):
        Look(**arguments)


def test_a_look_that_tries_a_task_that_is_not_there_is_refused():
    settings = SearchSettings(looks=[Look(tries=[{}, {"rotatoin": 1.0}])])
    with pytest.raises(ValueError, match=r"`search\.looks\.tries=rotatoin` .* nearest is `rotation`"):
        settings.course_of(["classes", "rotation"])


def test_two_looks_at_the_test_are_both_noted(copied):
    assert command(copied, "--search.rivals=[plain]") == 0
    looks = read(copied)["test_touched"]
    assert len(looks) in (1, 2)
    assert looks[0]["units"]
    assert np.isfinite(read(copied)["total_passes"])
