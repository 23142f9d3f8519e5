"""docs/tasks.md has a whole section for every task and head that is offered, and its YAML is accepted."""

import inspect
import re
from pathlib import Path

import pytest

import psst.fewshot
import psst.tasks
from psst.fewshot import Head
from psst.tasks import MainTask, Task
from psst.training.experiment import Experiment
from tests import laws

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
PARTS = ("**Formula.**", "**Chance**", "**Cost**", "**Options.**", "**Source.**", "```yaml")
OFFERED = [*laws.concrete(psst.tasks, Task), *laws.concrete(psst.fewshot, Head)]
DESCRIBED = [kind.__name__ for kind in OFFERED if kind is not MainTask]


def sections(page: str) -> dict[str, str]:
    parts = re.split(r"^(##+ .*)$", page, flags=re.MULTILINE)
    titled = [(title, text) for title, text in zip(parts[1::2], parts[2::2], strict=True) if "### " in title]
    found = {title.removeprefix("### "): text for title, text in titled}
    assert len(found) == len(titled)
    return found


def assert_described(name: str, page: str) -> None:
    found = sections(page)
    assert name in found, f"{name} has no section in docs/tasks.md"
    lacking = [part for part in PARTS if part not in found[name]]
    assert not lacking, f"the section {name} of docs/tasks.md lacks {lacking}"


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_task_and_head_has_a_whole_section(name):
    assert_described(name, PAGE)


def test_the_page_describes_nothing_else():
    assert set(sections(PAGE)) == set(DESCRIBED)


def test_a_new_task_without_its_section_fails():
    with pytest.raises(AssertionError, match="Colorization has no section"):
        assert_described("Colorization", PAGE)
    with pytest.raises(AssertionError, match=r"section Rotation .* lacks .*Chance"):
        assert_described("Rotation", PAGE.replace("**Chance** log 4", "log 4"))


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_option_is_named(name):
    kind = next(kind for kind in OFFERED if kind.__name__ == name)
    options = [option for option in inspect.signature(kind).parameters if option not in ("args", "kwargs")]
    assert [option for option in options if f"`{option}`" not in sections(PAGE)[name]] == []


@pytest.mark.parametrize("name", DESCRIBED)
def test_the_yaml_of_every_section_is_accepted(name, tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", sections(PAGE)[name], re.DOTALL)
    assert f".{name}" in text
    (tmp_path / "my.yaml").write_text(text)
    experiment = Experiment(["--config", "quickstart", "--config", str(tmp_path / "my.yaml")], dict)
    assert f".{name}" in experiment.yaml()
    assert experiment.module().main.name == "main"
    experiment.datamodule()
