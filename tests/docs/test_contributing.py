"""The example of CONTRIBUTING works as it stands: the task trains from its file, its test passes."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from psst.cli import main

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _file(tmp_path, monkeypatch):
    task, _ = blocks("python")
    assert "`inverted.py`" in PAGE
    (tmp_path / "inverted.py").write_text(task)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    yield
    sys.modules.pop("inverted", None)


def test_the_example_is_short():
    task, test = blocks("python")
    assert sum(bool(line.strip()) for line in task.splitlines()) <= 25
    assert len(test.splitlines()) <= 15


def test_the_task_trains_by_the_line_of_the_page_and_its_checkpoint_is_exported(tmp_path, capsys):
    (line,) = blocks("bash")
    words = shlex.split(line)
    assert words[0] == "psst"
    small = ["--trainer.max_steps", "2", "--trainer.logger", "false", "--trainer.accelerator", "cpu"]
    assert main([*words[1:], *small]) == 0, capsys.readouterr().err
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    assert main(["export", str(checkpoint), "--output", "encoder"]) == 0, capsys.readouterr().err


def test_its_test_passes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    _, test = blocks("python")
    namespace: dict = {}
    exec(compile(test, "CONTRIBUTING.md", "exec"), namespace)
    tests = [value for name, value in namespace.items() if name.startswith("test_")]
    assert len(tests) == 1
    tests[0]()
