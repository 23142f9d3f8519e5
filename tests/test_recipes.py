"""Published recipes run, in the formats of their data, and say what they come to."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from psst.cli import main
from psst.commands.recipe import Recipe
from psst.commands.reproduce import table
from psst.commands.tiny import write_tiny
from psst.configs import recipes
from psst.tasks.finished import read_checkpoint

SAMPLE = ("snell2017_protonet_conv4_mini", "gidaris2019_rotation_conv4_mini")
TWO_STAGES = "chen2021_metabaseline_resnet12_mini"
THIN = {"model.init_args.backbone.init_args.depth": 10, "model.init_args.backbone.init_args.widen": 1}
SMALL = {
    "model.init_args.backbone": {"class_path": "psst.backbones.Conv4", "init_args": {"hidden": 8}},
}
PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"


def reproduced(name, folder, capsys, *words):
    status = main(["reproduce", name, "--tiny", "--output", str(folder), *words])
    told = capsys.readouterr()
    assert status == 0, told.err
    return told.out


@pytest.mark.parametrize(
    "name", [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.slow) for name in recipes()]
)
def test_a_recipe_runs_to_its_table(name, tmp_path, capsys):
    keys = tmp_path / "keys.yaml"  # two steps of WRN-28-10 take minutes on a CPU
    keys.write_text(yaml.safe_dump(THIN if "wrn2810" in name else {}))
    said = reproduced(name, tmp_path, capsys, "--keys", str(keys))
    recipe = Recipe.read(yaml.safe_load(recipes()[name].read_text())["recipe"], name)
    for row in recipe.results:
        assert f"{row.way}-way {row.shot}-shot: " in said
        assert f"published {row.accuracy:.2f}" in said
    found = json.loads((tmp_path / "reproduced.json").read_text())
    assert found["steps"] == 2 * (1 + len(recipe.then))
    assert all(0 <= row["ours"] <= 100 for row in found["results"])


def test_a_later_stage_begins_with_the_encoder_and_a_finished_one_is_kept(tmp_path, capsys):
    """With a rate of 0 in the second stage its weights are those of the first."""
    keys = tmp_path / "keys.yaml"
    keys.write_text(yaml.safe_dump(SMALL))
    told = reproduced(TWO_STAGES, tmp_path / "run", capsys, "--keys", str(keys))
    first = tmp_path / "run" / "stage-1" / "best.ckpt"
    written = first.stat().st_mtime_ns
    for left in (tmp_path / "run" / "stage-2").iterdir():  # as if it had not begun
        left.unlink()
    rate = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.0}}
    keys.write_text(yaml.safe_dump({**SMALL, "model.init_args.optimizer": rate}))
    assert reproduced(TWO_STAGES, tmp_path / "run", capsys, "--keys", str(keys)) != told
    assert first.stat().st_mtime_ns == written
    states = [read_checkpoint(first.parents[1] / stage / "best.ckpt") for stage in ("stage-1", "stage-2")]
    one, two = (
        {
            key: value
            for key, value in state["state_dict"].items()
            if key.startswith("encoder.") and value.is_floating_point() and "running" not in key
        }
        for state in states
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_page_has_the_table_of_the_recipes(capsys):
    assert main(["reproduce", "--list"]) == 0
    listed = capsys.readouterr().out
    assert listed == table()
    assert listed in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", recipes())
def test_the_first_line_says_how_it_is_run(name):
    text = recipes()[name].read_text(encoding="utf-8")
    root = yaml.safe_load(text)["data"]["init_args"]["root"]
    assert text.splitlines()[0] == f"# psst reproduce {name} --root {root}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("quickstart",), "`quickstart` has no `recipe:` with `source` and `results`; run it with `psst fit"),
        (("nobody2030_net",), "neither a file nor a shipped run"),
        ((SAMPLE[1], "--root", "nowhere"), "nowhere"),
    ],
)
def test_a_mistake_is_one_clear_paragraph(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"source": "a", "results": [{"way": 5, "accuracy": 1}]}, r"`recipe.results` of `r`: .*shot"),
        ({"source": "a", "results": [1], "next": []}, r"`recipe.next` of `r` is unknown"),
        ({"results": []}, r"`r` has no `recipe:`"),
    ],
)
def test_what_is_no_recipe_is_refused(recipe, message):
    with pytest.raises(ValueError, match=message):
        Recipe.read(recipe, "r")


def test_no_archive_is_made_of_a_data_set_without_a_format(tmp_path):
    with pytest.raises(ValueError, match="`--tiny` makes archives of MiniImageNet, CifarFS"):
        write_tiny("psst.datamodules.Glyphs", tmp_path / "data")
    assert not (tmp_path / "data").exists()
