"""A whole search on the embedded letters: files, resumption, refusals."""

import csv
import json

import pytest
import torch

from psst.cli import main

SMALL = [
    "search",
    "--config=quickstart",
    "--trainer.max_steps=20",
    "--search.auxiliary_weights=[0, 0.3, 1]",
    "--data.init_args.evaluation.val_episodes=50",
    "--data.init_args.evaluation.test_episodes=50",
    "--model.init_args.backbone.init_args.hidden=4",
]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    cache = folder / "cache"
    arguments = [*SMALL, f"--data.init_args.cache_dir={cache}", "--output", str(folder / "out")]
    assert main(arguments) == 0
    return folder / "out", arguments


def test_a_search_leaves_its_files(searched):
    folder, _ = searched
    for name in (
        "best.ckpt",
        "front.json",
        "front.csv",
        "metrics.json",
        "manifest.json",
        "front.png",
        "rays.npz",
    ):
        assert (folder / name).stat().st_size > 0
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    assert not [path for path in folder.rglob(".*") if path.is_file()]  # nothing temporary is left


def test_the_choice_is_the_best_candidate_on_validation(searched):
    folder, _ = searched
    rows = json.loads((folder / "front.json").read_text())
    candidates = [row for row in rows if row["kind"] != "baseline"]
    best = max(candidates, key=lambda row: row["val_accuracy"])
    assert [row["name"] for row in rows if row["chosen"]] == [best["name"]]
    assert best["in_region"]
    assert len(rows) == len(list(csv.DictReader((folder / "front.csv").open())))


def test_no_model_on_the_front_is_dominated(searched):
    folder, _ = searched
    rows = json.loads((folder / "front.json").read_text())
    losses = {row["name"]: (row["main_loss"], row["rotation_loss"]) for row in rows}
    for row in rows:
        mine = losses[row["name"]]
        beaten = any(a <= mine[0] and b <= mine[1] and (a, b) != mine for a, b in losses.values())
        assert row["on_front"] is not beaten


def test_the_test_is_paired_with_plain_and_the_best_fixed_weight(searched):
    folder, _ = searched
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = json.loads((folder / "front.json").read_text())
    fixed = [row for row in rows if row["name"].startswith("fixed-")]
    best_fixed = max(fixed, key=lambda row: row["val_accuracy"])["name"]
    assert set(metrics["chosen_minus"]) == {"plain", best_fixed}
    for name, groups in metrics["chosen_minus"].items():
        for group, gap in groups.items():
            accuracy = (
                metrics["test"][metrics["chosen"]][group]["accuracy"]
                - metrics["test"][name][group]["accuracy"]
            )
            assert gap["mean"] == pytest.approx(accuracy, abs=1e-6)  # float32 accuracies
            assert gap["episodes"] == 50


def test_best_is_an_ordinary_checkpoint(searched):
    folder, _ = searched
    content = torch.load(folder / "best.ckpt", weights_only=True)
    assert any(key.startswith("encoder.") for key in content["state_dict"])


def test_finished_units_are_not_run_again(searched, capfd):
    folder, arguments = searched
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("model.ckpt")}
    assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("model.ckpt")} == before
    assert "warm: finished earlier" in capfd.readouterr().err


def test_an_interrupted_unit_is_run_anew_with_the_same_result(searched):
    """Dropping a unit from the manifest is what an interruption leaves: a folder that does not count."""
    folder, arguments = searched
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    first = manifest["units"].pop("anchor-0.3")
    path.write_text(json.dumps(manifest))
    (folder / "units" / "anchor-0.3" / "model.ckpt").write_bytes(b"half")
    assert main(arguments) == 0
    again = json.loads(path.read_text())["units"]["anchor-0.3"]
    assert again["losses"] == first["losses"]


def test_another_configuration_in_the_same_folder_is_refused(searched, capsys):
    _, arguments = searched
    assert main([*arguments, "--trainer.max_steps=30"]) == 2
    message = capsys.readouterr().err
    assert "max_steps: 20" in message
    assert "max_steps: 30" in message
    assert "Traceback" not in message


def test_data_that_do_not_suit_are_refused_before_anything_is_written(tmp_path, capsys):
    words = [*SMALL, "--data.init_args.episodes.query=40", f"--data.init_args.cache_dir={tmp_path / 'cache'}"]
    assert main([*words, "--output", str(tmp_path / "out")]) == 2
    assert "`data.init_args.episodes.query=40`" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_search_needs_an_auxiliary_task(tmp_path, capsys):
    assert main([*SMALL, "--model.init_args.auxiliary=[]", "--output", str(tmp_path / "out")]) == 2
    assert "`model.init_args.auxiliary=[]`" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
