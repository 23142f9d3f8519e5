"""The table of the house counts what git tracks, and fails above its limits."""

import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "benchmarks" / "house.py"
FILES = {
    "psst/images/store.py": (
        "A, B = 1, 2\n_C = 3\nd: int = 4\n\n\ndef read():\n    # why\n    return '# no comment'\n"
    ),
    "psst/search/units.py": (
        "from psst.training import fit\n\n\nclass Unit:\n    def run(self):\n        return fit()\n"
    ),
    "psst/training/fit.py": "import psst.search.units\n\nunits = {}\nunits['a'] = psst.search.units\n",
    "callbacks/one.py": "from psst.images import store\n",
    "datamodules/one.py": "",
}


def printed(root: Path) -> tuple[int, dict[str, str]]:
    done = subprocess.run([sys.executable, HOUSE, root], capture_output=True, text=True)
    assert not done.stderr
    rows = [(line[:32].strip(), line[32:40].strip()) for line in done.stdout.splitlines()]
    return done.returncode, dict(rows)


@pytest.fixture
def tree(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "psst" / "callbacks").symlink_to("../callbacks")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "add", "."], check=True)
    (tmp_path / "psst" / "not_tracked.py").write_text("x = 1\n" * 100)
    return tmp_path


def test_the_figures_are_those_of_a_small_tree(tree):
    status, found = printed(tree)
    assert status == 1  # search and training import each other's rooms: a cycle
    assert found["images + datamodules"] == "8"
    assert found["pareto + callbacks + balancers"] == "1"
    assert found["all lines"] == "19"
    assert found["public names"] == "6"  # A, B, d, read, Unit, units
    assert found["cycles between rooms"] == "1"
    assert found["lines of a function, median"] == "2.5"
    assert found["lines of a module, median"] == "4"
    assert found["comments a hundred lines"] == "5.3"


def test_a_house_within_its_limits_passes_and_one_line_of_a_room_more_fails(tree):
    (tree / "psst/training/fit.py").write_text("def fit():\n    return 1\n")
    assert printed(tree)[0] == 0
    (tree / "psst/images/store.py").write_text("\n" * 5460)
    assert printed(tree)[0] == 1
