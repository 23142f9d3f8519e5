"""The examples of the docs run as they stand: each block is copied into an empty folder and executed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from psst.balancers.torchjd_table import _REFUSED, ENTRIES

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
BLOCK = re.compile(r"^```python runnable (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> dict[str, str]:
    """Code by the name behind ``python runnable``."""
    found = [block for page in PAGES for block in BLOCK.findall(page.read_text(encoding="utf-8"))]
    assert len({name for name, _ in found}) == len(found)
    return dict(found)


def numbers(output: str) -> list[list[float]]:
    return [[float(number) for number in re.findall(r"\d+\.?\d*", line)] for line in output.splitlines()]


def digits_are_told(output: str, folder: Path) -> None:
    rows = [row for row in numbers(output) if len(row) == 4]
    assert [tradeoff for tradeoff, *_ in rows] == [0.0, 0.3, 0.7]
    _, digits, turns, weights = zip(*rows, strict=True)
    assert min(digits) > 0.75  # chance is 0.1
    assert digits[0] > 0.9
    assert min(turns[1:]) > 0.75  # chance is 0.25
    assert min(turns[1:]) > turns[0]
    assert weights[0] == 1.0 > weights[1] > weights[2]


def health_has_a_front(output: str, folder: Path) -> None:
    (line,) = re.findall(r"R\^2 ([\d.]+): (.+) of (\w+)", output)
    assert float(line[0]) > 0.35  # 0 is the mean of the targets
    assert line[2] in ("search", "plain", "fixed", "grid")
    rows = [row.split(",") for row in (folder / "health" / "front.csv").read_text().splitlines()]
    main, pressure = rows[0].index("main_loss"), rows[0].index("pressure_loss")
    by_main = sorted(rows[1:], key=lambda row: float(row[main]))
    assert float(by_main[0][pressure]) > float(by_main[-1][pressure]) + 0.05  # a conflict
    assert (folder / "health" / "front.png").read_bytes().startswith(b"\x89PNG")


def the_loop_keeps_the_ratios(output: str, folder: Path) -> None:
    asked = [1 / 3, 1.0, 3.0]
    rows = numbers(output)
    assert len(rows) == 3
    for ratio, (*_, main, other, found) in zip(asked, rows, strict=True):
        assert 0.7 < found / ratio < 1.4  # the dead zone of a quarter of the way to the next ray, and noise
        assert 1.8 < main + other < 2.3  # on the front, where they add up to 2


CHECKS = {
    "digits": digits_are_told,
    "health": health_has_a_front,
    "loop": the_loop_keeps_the_ratios,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_the_example_runs_by_copy_and_paste(name, tmp_path):
    (tmp_path / "example.py").write_text(blocks()[name], encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}  # as if installed from here
    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if ":" in line or ";" in line]
    CHECKS[name]("\n".join(line for line in lines if re.match(r"tradeoff|R\^2|asked", line)), tmp_path)


def test_every_runnable_block_has_its_check():
    assert set(blocks()) == set(CHECKS)


def test_other_python_blocks_are_at_least_python():
    for page in PAGES:
        for code in re.findall(
            r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ):
            compile(
                "def block():\n" + "".join(f"    {line}\n" for line in code.splitlines()), str(page), "exec"
            )


def test_the_table_of_methods_names_every_balancer():
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert {name for name in [*ENTRIES, *_REFUSED] if f"`{name}`" not in page} == set()


def test_links_between_the_pages_lead_somewhere():
    for page in (ROOT / "docs").glob("*.md"):
        prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\((?!http)([^)#]+)", prose):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
