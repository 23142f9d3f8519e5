"""A search looks at the files of its data once, however many units open the store."""

from psst.cli import main
from psst.images.sources.folder import FolderSource
from tests.search.small import birds


def test_files_are_looked_at_once(tmp_path, monkeypatch, capsys):
    """The looks are counted in this process; workers are told what it has seen."""
    looks, look = [], FolderSource.key
    monkeypatch.setattr(FolderSource, "key", lambda source, size: looks.append(size) or look(source, size))
    words = ["--config", "quickstart", "--data", "psst.datamodules.ImageFolder"]
    settings = {
        "root": birds(tmp_path, train=3, val=2, test=2),
        "size": 16,
        "channels": 1,
        "cache_dir": tmp_path / "cache",
    }
    settings |= {"episodes.way": 2, "episodes.query": 2, "evaluation.way": 2, "evaluation.query": 2}
    settings |= {"evaluation.val_episodes": 5, "evaluation.test_episodes": 5}
    words += [f"--data.init_args.{key}={value}" for key, value in settings.items()]
    words += ["--trainer.max_steps=10", "--search.course=grid", "--search.rivals=[plain]"]
    words += ["--model.init_args.backbone.init_args.hidden=4", "--output", str(tmp_path / "out")]
    assert main(["search", *words]) == 0
    assert looks == [16]
