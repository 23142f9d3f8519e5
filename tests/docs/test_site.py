"""The site has every page once, the page of the commands is their help, and a broken link fails the build."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
JOINING = {"index.md", "contributing.md"}  # README.md and CONTRIBUTING.md


def named(nav):
    """Pages of a `nav`, in order."""
    for entry in nav:
        (value,) = entry.values()
        yield from [value] if isinstance(value, str) else named(value)


def test_every_page_is_in_the_navigation_once():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    found = list(named(config["nav"]))
    assert sorted(found) == sorted({path.name for path in (ROOT / "docs").glob("*.md")} | JOINING)
    assert all((ROOT / hook).is_file() for hook in config["hooks"])


def test_the_page_of_the_commands_is_their_help():
    asked = [sys.executable, ROOT / "benchmarks" / "commands.py"]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT, check=True)
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    told = "python benchmarks/commands.py > docs/commands.md makes it anew"
    assert page.split() == done.stdout.split(), told  # lines are broken otherwise from Python to Python


@pytest.mark.slow
@pytest.mark.parametrize("broken", [False, True])
def test_the_site_is_built_strictly(tmp_path, broken):
    pytest.importorskip("mkdocs", reason="pip install 'psst-fewshot[docs]'")
    pytest.importorskip("material", reason="pip install 'psst-fewshot[docs]'")
    for name in ("docs", "README.md", "CONTRIBUTING.md", "mkdocs.yml"):
        (tmp_path / name).symlink_to(ROOT / name)
    if broken:
        (tmp_path / "README.md").unlink()
        (tmp_path / "README.md").write_text("# PSST\n\n[nowhere](docs/nowhere.md)\n")
    asked = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True)
    if broken:
        assert done.returncode != 0
        assert "nowhere.md" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    home = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "<title>" in home
    assert 'href="which_way/"' in home
    assert (tmp_path / "site" / "quickstart_front.png").is_file()
    article = (tmp_path / "site" / "any_module" / "index.html").read_text(encoding="utf-8")
    assert "```" not in re.sub(r"<script.*?</script>", "", article, flags=re.DOTALL)
