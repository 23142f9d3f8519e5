"""The command line: quick help, and one clear line for each mistake."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from psst.cli import _COMMANDS, main
from psst.evaluation import EpisodeScores, save_scores

RUN = ["fit", "--config", "quickstart", "--trainer.max_steps", "1", "--trainer.accelerator", "cpu"]
CALLBACK = "[{class_path: psst.callbacks.PSSTCallback, init_args: {tradeoff: 1.5}}]"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PSST_TRACEBACK", raising=False)


WRONG = """\
model:
  init_args:
    backbone:
      class_path: psst.backbones.Conv4
      init_args: {hiden: 3}
"""


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run words that must fail, and return the error without its prefix."""
    try:
        status = main(words)
    except SystemExit as stop:  # argparse
        status = stop.code
    error = capsys.readouterr().err
    assert status == 2
    assert "Traceback" not in error
    return error.partition("error: ")[2]


def test_help_names_every_command_without_importing_torch():
    code = "import sys; from psst.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in _COMMANDS)


@pytest.mark.parametrize("command", ["search", "compare", "export", "adapt", "data"])
def test_the_help_of_a_command_ends_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"psst {command}" in capsys.readouterr().out.rpartition("example")[2]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["nonsense"], ["unknown command `nonsense`", "search"]),
        ([*RUN, "--config", "nowhere"], ["`--config nowhere`", "quickstart"]),
        ([*RUN, "--trainer.max_step", "3"], ["--trainer.max_step"]),
        ([*RUN, "--model.init_args.backbone.init_args.hiden", "3"], ["hiden", "Conv4"]),
        ([*RUN, "--search.foo", "3"], ["--search.foo"]),
        ([*RUN, "--search.threads", "0"], ["`search.threads=0`"]),
        ([*RUN, "--model.init_args.backbone", "psst.backbones.Conv5"], ["backbone", "Conv5"]),
        ([*RUN, "--trainer.callbacks", CALLBACK], ["`tradeoff=1.5`", "[0, 1]"]),
        ([*RUN, "--data.init_args.episodes.way", "999"], ["`data.init_args.episodes.way=999`"]),
        (["fit", "--config", "omniglot_minimal_conv4"], ["data", "root"]),
        (
            ["fit", "--config", "omniglot_minimal_conv4", "--data.init_args.root", "absent"],
            ["`data.init_args.root=absent`"],
        ),
        (["fit"], ["model", "--config NAME_OR_FILE"]),
        (["test", "model.ckpt"], ["`model.ckpt`", "--config", "--ckpt_path FILE"]),
        (["export", "taken"], ["`--output` is missing"]),
        (["export", "taken", "--output", "out", "--images", "x"], ["`--images x`", "--onnx"]),
        (["data", "photos"], ["`action=photos`", "'prepare'"]),
        (["doctor", "--cache", "taken"], ["`--cache taken` is a file"]),
        (["fti"], ["unknown command `fti`; did you mean `fit`?"]),
        (["fit", "--config", "broken.yaml"], ["`broken.yaml`, line 2, column 1", "'\\t'"]),
        ([*RUN, "--trainer.max_step", "3"], ["did you mean `trainer.max_steps`?"]),
        (["search", "--config", "quickstart", "--search.rival", "[]"], ["did you mean `search.rivals`?"]),
        (
            ["search", "--config", "quickstart", "--search.looks", "[{tries: arund}]"],
            ["`search.looks.tries=arund` must be one of 'singles'", "or a list; did you mean `around`?"],
        ),
        ([*RUN, "--seed_everthing", "3"], ["did you mean `seed_everything`?"]),
        ([*RUN, "--config", "wrong.yaml"], ["(`wrong.yaml`, line 5); did you mean `hidden`?"]),
        ([*RUN, "--data.init_args.episodes.wya", "3"], ["did you mean `way`?"]),
        ([*RUN, "--data.init_args.nway", "3"], ["did you mean `episodes.way`?"]),
        ([*RUN, "--max_step", "3"], ["did you mean `trainer.max_steps`?"]),
        ([*RUN, "--model.init_args.backbone", "psst.backbones.Conv5"], ["did you mean `Conv4`?"]),
        (
            ["test", "--config", "quickstart"],
            ["`psst test` needs a trained model: name one with `--ckpt_path"],
        ),
        (["test", "--config", "quickstart", "--ckpt_path", "absent.ckpt"], ["`absent.ckpt`"]),
        (["search", "--config", "quickstart", "--output", "taken"], ["`--output taken`"]),
        (["export", "absent.ckpt", "--output", "out"], ["`absent.ckpt`"]),
        (["export", "taken", "--output", "out"], ["`taken`", "checkpoint"]),
        (["compare", "absent", "taken"], ["`absent`"]),
        (["compare", "taken", "taken"], ["taken"]),
        (["data", "info", "absent"], ["absent"]),
        (["data", "verify", "absent", "--force"], ["--force"]),
    ],
)
def test_a_mistake_is_one_clear_paragraph(words, parts, tmp_path, capsys):
    (tmp_path / "taken").write_text("neither a checkpoint nor scores")
    (tmp_path / "broken.yaml").write_text("trainer:\n\tmax_steps: 3\n")
    (tmp_path / "wrong.yaml").write_text(WRONG)
    error = refused(words, capsys)
    assert all(part in error for part in parts), error
    assert len(error.strip().splitlines()) == 1


def test_a_run_without_data_is_refused(capsys):
    model = "{class_path: psst.training.FewShotModule, init_args: {backbone: psst.backbones.Conv4, "
    assert "`data` is missing" in refused(
        [
            "fit",
            "--model",
            model
            + "main: {class_path: psst.tasks.Episodic, init_args: {head: psst.fewshot.PrototypicalHead}}}}",
        ],
        capsys,
    )


def test_a_checkpoint_of_another_model_is_refused(capsys):
    small = ["--data.init_args.episodes.way", "2", "--data.init_args.episodes.query", "1"]
    assert main([*RUN, *small, "--trainer.default_root_dir", "runs", "--trainer.limit_val_batches", "0"]) == 0
    (checkpoint,) = Path("runs").rglob("*.ckpt")
    words = ["test", *RUN[1:], "--model.init_args.backbone.init_args.hidden", "8"]
    assert "another model" in refused([*words, "--ckpt_path", str(checkpoint)], capsys)


def test_a_fit_ends_with_what_came_of_it_and_says_what_it_left_out(tmp_path, capsys):
    """Also where it ended before its first validation."""
    small = ["--data.init_args.episodes.way", "2", "--data.init_args.episodes.query", "1"]
    few = ["--data.init_args.evaluation.val_episodes", "10", "--trainer.default_root_dir", "runs"]
    assert main([*RUN, *small, *few, "--trainer.callbacks", "[]"]) == 0
    told = capsys.readouterr()
    assert "PSSTCallback is left out" in told.err
    said, following = told.out.strip().splitlines()[-2:]
    (checkpoint,) = Path("runs").rglob("*.ckpt")
    assert re.fullmatch(r"validation accuracy \d+\.\d\d %; checkpoint (.*)", said)[1] == str(checkpoint)
    words = following.removeprefix("next: psst ").split()
    assert main([*words, "--data.init_args.evaluation.test_episodes", "10"]) == 0
    assert main(["search", "--plan", "--config", words[2]]) == 0


def test_early_stopping_before_the_first_validation_is_no_error_and_a_metric_of_nobody_is_named(capsys):
    small = ["--data.init_args.episodes.way", "2", "--data.init_args.episodes.query", "1"]
    words = [
        *RUN,
        *small,
        "--data.init_args.evaluation.val_episodes",
        "10",
        "--trainer.default_root_dir",
        "runs",
    ]
    words += ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor"]
    assert main([*words, "val/accuracy"]) == 0  # the epoch is longer than the run
    assert "validation accuracy" in capsys.readouterr().out
    assert "`monitor=val_loss` of EarlyStopping was never computed; give `val/accuracy`" in refused(
        [*words, "val_loss"], capsys
    )


def test_a_run_that_is_over_before_its_first_validation_leaves_a_checkpoint(tmp_path, capsys):
    small = ["--data.init_args.episodes.way", "2", "--data.init_args.episodes.query", "1"]
    rare = ["--trainer.check_val_every_n_epoch", "5", "--data.init_args.episodes.per_epoch", "1"]
    few = ["--data.init_args.evaluation.val_episodes", "10", "--trainer.default_root_dir", "runs"]
    assert main([*RUN, *small, *rare, *few]) == 0
    (checkpoint,) = Path("runs").rglob("*.ckpt")
    assert f"checkpoint {checkpoint}" in capsys.readouterr().out


def test_the_doctor_names_what_is_wrong(tmp_path, capsys, monkeypatch):
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "nothing is wrong" in told
    assert f"torch {version('torch')}" in told
    monkeypatch.setattr("psst.commands.doctor._ROOM", 2**80)
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "give `cache_dir` on a larger disk" in told


def test_predict_saves_the_features_of_every_test_image(tmp_path):
    small = ["--model.init_args.backbone.init_args.hidden=4", "--data.init_args.cache_dir=cache"]
    assert main([*RUN, *small, "--trainer.logger=false"]) == 0
    checkpoint = next(tmp_path.rglob("*.ckpt"))
    words = [
        "predict",
        "--config",
        "quickstart",
        *small,
        "--trainer.logger=false",
        "--trainer.accelerator=cpu",
    ]
    assert main([*words, "--ckpt_path", str(checkpoint)]) == 0
    with np.load(tmp_path / "runs" / "features.npz") as saved:
        assert saved["features"].shape == (len(saved["labels"]), 4)
        assert np.isfinite(saved["features"]).all()
        assert len(np.unique(saved["labels"])) >= 100  # letters of the three test scripts
        assert saved["labels"].max() < len(saved["class_names"])


def test_the_traceback_is_shown_on_demand(monkeypatch):
    monkeypatch.setenv("PSST_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        main(["compare", "absent", "absent"])


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(1)])
def test_an_interrupt_is_one_line_and_status_130(stop, monkeypatch, capsys):
    def interrupted(words):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise stop  # noqa: B904 - as Lightning does

    monkeypatch.setattr("psst.commands.compare.main", interrupted)
    assert main(["compare", "a", "b"]) == 130
    assert capsys.readouterr().err == "psst: interrupted.\n"


def scores(accuracies, stream="s") -> EpisodeScores:
    accuracies = np.asarray(accuracies, dtype=np.float32)
    return EpisodeScores(accuracies, 1 - accuracies, stream, seed=0, n_way=5, n_shot=1, n_query=15)


def test_compare_prints_the_paired_difference_of_each_group(tmp_path, capsys):
    base = np.linspace(0, 0.5, 50)
    for name, shift in (("a", 0.25), ("b", 0.0)):
        save_scores(
            tmp_path / name / "test_scores.npz",
            {"Greek": scores(base + shift), "Latin": scores(base)},
        )
    assert main(["compare", "a", "b/test_scores.npz"]) == 0
    out = capsys.readouterr().out
    assert "+25.00 +- 0.00 points" in out.partition("Latin:")[0]  # equal shifts: no spread between pairs
    assert "+0.00 +- 0.00 points" in out.partition("Latin:")[2]
    assert "do not cover the draw of training runs" in out


@pytest.mark.parametrize("other", [{"Latin": scores([0.5, 1.0])}, {"Greek": scores([0.5, 1.0], "t")}])
def test_compare_refuses_tests_that_cannot_be_paired(other, tmp_path, capsys):
    save_scores(tmp_path / "a.npz", {"Greek": scores([0.5, 1.0])})
    save_scores(tmp_path / "b.npz", other)
    refused(["compare", "a.npz", "b.npz"], capsys)


def test_data_is_prepared_described_and_verified(tmp_path, capsys):
    words = ["data", "prepare", "--config", "quickstart", "--data.init_args.drawings", "1"]
    assert main([*words, "--data.init_args.size", "16"]) == 0
    assert "16 x 16" in capsys.readouterr().out
    (store,) = (path.parent for path in tmp_path.rglob("meta.json"))
    assert main(["data", "info", str(store)]) == 0
    assert main(["data", "verify", str(store)]) == 0
    with (store / "images.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    assert "images.npy" in refused(["data", "verify", str(store)], capsys)
