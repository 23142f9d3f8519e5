"""What is installed is what lies on disk."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_package_map_names_every_folder():
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    inner = {path.parent for path in (ROOT / "psst").rglob("__init__.py") if not path.parent.is_symlink()}
    on_disk = {
        ".".join(folder.relative_to(ROOT).parts) for folder in inner if "__pycache__" not in folder.parts
    }
    outer = {f"psst.{name}" for name in ("callbacks", "configs", "datamodules")}
    assert set(tool["packages"]) == on_disk | outer
    assert tool["package-dir"] == {name: name.removeprefix("psst.") for name in sorted(outer)}


def test_the_links_lead_to_the_outer_folders():
    for name in ("callbacks", "configs", "datamodules"):
        link = ROOT / "psst" / name
        assert link.is_symlink()
        assert link.resolve() == ROOT / name
