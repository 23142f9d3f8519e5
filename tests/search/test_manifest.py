"""The manifest: whole after each unit, bound to one configuration."""

import json

import pytest

from psst.search.record import Manifest


def test_finished_units_survive(tmp_path):
    Manifest(tmp_path, "a: 1\n").finish("warm", {"kind": "warm"})
    again = Manifest(tmp_path, "a: 1\n")
    assert again.finished("warm")
    assert not again.finished("anchor-0")


def test_a_search_without_a_finished_unit_may_start_anew(tmp_path):
    Manifest(tmp_path, "max_steps: 100\n")
    Manifest(tmp_path, "max_steps: 200\n").finish("warm", {})
    assert json.loads((tmp_path / "manifest.json").read_text())["config"] == "max_steps: 200\n"


def test_another_configuration_is_refused_with_the_difference(tmp_path):
    Manifest(tmp_path, "trainer:\n  max_steps: 100\n").finish("warm", {})
    with pytest.raises(ValueError, match=r"(?s)-  max_steps: 100.*\+  max_steps: 200"):
        Manifest(tmp_path, "trainer:\n  max_steps: 200\n")


def test_a_newer_format_is_refused(tmp_path):
    Manifest(tmp_path, "")
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        Manifest(tmp_path, "")
