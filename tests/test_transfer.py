"""A model is tested on other data sets: on its own, this is `psst test`."""

import pytest
from pytorch_lightning import Trainer

from psst.backbones import Conv4
from psst.cli import main
from psst.commands.tiny import write_tiny
from psst.datamodules import Glyphs
from psst.episodes import Episodes, Evaluation
from psst.evaluation.class_draw import _pooled_difference
from psst.fewshot import PrototypicalHead
from psst.tasks import Episodic, Rotation
from psst.training import FewShotModule

EVALUATION = "{way: 3, shot: 1, query: 2, val_episodes: 10, test_episodes: 60}"
YAML = f"""\
data:
  class_path: psst.datamodules.Glyphs
  init_args: {{size: 28, episodes: {{way: 3, query: 2}}, evaluation: {EVALUATION}}}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint, its accuracy by the trainer's test, and a run with its data."""
    folder = tmp_path_factory.mktemp("trained")
    evaluation = Evaluation(way=3, query=2, val_episodes=10, test_episodes=60)
    data = Glyphs(size=16, episodes=Episodes(way=3, query=2), evaluation=evaluation, cache_dir=str(folder))
    module = FewShotModule(Conv4(hidden=4), Episodic(PrototypicalHead()), auxiliary=[Rotation()])
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        max_steps=3,
        default_root_dir=folder,
        limit_val_batches=0,
        accelerator="cpu",
        enable_checkpointing=False,
        **quiet,
    )
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(folder / "model.ckpt")
    trainer.test(module, datamodule=data, verbose=False)
    (folder / "glyphs.yaml").write_text(YAML.replace("28,", f"28, cache_dir: {folder},"))
    return folder, module.scores


def run(folder, capsys, *words):
    status = main(["transfer", str(folder / "model.ckpt"), *map(str, words)])
    told = capsys.readouterr()
    return status, told.out + told.err


def test_on_its_own_data_it_is_the_test(trained, capsys):
    folder, scores = trained
    status, told = run(folder, capsys, folder / "glyphs.yaml", "--shots", "1,2")
    wanted = _pooled_difference(
        [s.accuracies for s in scores.values()], [s.class_ids for s in scores.values()]
    )
    assert status == 0
    assert f"1-shot: {100 * wanted.mean:.2f} ± {100 * wanted.half_width:.2f} %" in told
    assert "2-shot: " in told


def test_several_data_sets_in_one_call(trained, capsys):
    folder, _ = trained
    status, told = run(folder, capsys, f"{folder / 'glyphs.yaml'},quickstart", "--shots", "1", "--way", "4")
    assert status == 0
    assert told.count("1-shot") == 2
    assert "quickstart, 1-shot" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("glyphs.yaml", "--shots", "1,x"), "`--shots 1,x` must be whole numbers"),
        (("nowhere.yaml",), "nowhere.yaml` is neither a file nor a shipped run"),
        (("color.yaml",), "have 3 channels, the model reads 1; set `data.init_args.channels`"),
    ],
)
def test_a_mistake_is_named(trained, words, message, capsys, tmp_path, monkeypatch):
    folder, _ = trained
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glyphs.yaml").write_text((folder / "glyphs.yaml").read_text())
    write_tiny("psst.datamodules.MiniImageNet", tmp_path / "data")
    (tmp_path / "color.yaml").write_text(
        "data: {class_path: psst.datamodules.MiniImageNet, "
        "init_args: {root: data, episodes: {query: 2}, evaluation: {query: 2}}}"
    )
    status, told = run(folder, capsys, *words)
    assert status == 2
    assert message in told
