"""SIGKILL at random moments of a search by the command: it always ends with the same front and models."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from psst.cli import main
from psst.search.settings import SearchSettings
from psst.training.experiment import Experiment
from tests.search.small import WORDS

PRELOADED = ["psst.commands.search", "psst.datamodules.glyphs", "psst.search.charts", "psst.search.session"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Arguments, and the folder of a search that nothing has stopped."""
    folder = tmp_path_factory.mktemp("killed")
    words = [*WORDS, f"--data.init_args.cache_dir={folder / 'cache'}"]
    Experiment(words[1:], SearchSettings).datamodule().prepare_data()
    process = search(words, folder / "whole")
    process.join()
    assert process.exitcode == 0
    return words, folder / "whole"


def search(words, output, *more):
    """The command in a process of its own, which has imported everything already.

    It is not forked from this one: a thread that draws charts here would be missed there.
    """
    arguments = [*words, "--output", str(output), *more]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=run, args=(arguments, output.with_suffix(".log")))
    process.start()
    return process


def run(arguments, log):
    """Say nothing on the terminal of the tests, and leave with the command's status."""
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ["PSST_TRACEBACK"] = "1"
    os._exit(main(arguments))


def check(found: Path, expected: Path) -> None:
    for name in ("front.csv", "front.json"):
        assert (found / name).read_text() == (expected / name).read_text(), name
    names = {path.relative_to(expected) for path in expected.glob("units/*/model.ckpt")} | {Path("best.ckpt")}
    assert {path.relative_to(found) for path in found.glob("units/*/model.ckpt")} | {
        Path("best.ckpt")
    } == names
    for name in names:
        one, other = (torch.load(folder / name, weights_only=True) for folder in (found, expected))
        assert one["state_dict"].keys() == other["state_dict"].keys()
        for key, value in one["state_dict"].items():
            assert torch.equal(value, other["state_dict"][key]), (name, key)
        assert one["global_step"] == other["global_step"]
    hidden = [path for path in found.rglob(".*") if path.is_file() and path.parent != found]
    assert not hidden, "unfinished writes are left"


def kill_at(words, output, moments):
    """Start and kill as often as there are moments; return how often it was really killed.

    A moment is how many new paths the search has to leave first, and for how many seconds it then goes on:
    clocks say little on a busy machine.
    """
    killed = 0
    for growth, pause in moments:
        goal = n_paths(output) + growth
        process = search(words, output)
        while process.is_alive() and n_paths(output) < goal:
            time.sleep(0.005)
        process.join(pause)
        if process.exitcode is None:
            killed += 1
        process.kill()
        process.join()
    process = search(words, output)
    process.join()
    assert process.exitcode == 0, output.with_suffix(".log").read_text()[-3000:]
    return killed


def n_paths(folder: Path) -> int:
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def moments_of(seed: int, count: int, most: int) -> list[tuple[int, float]]:
    draws = random.Random(seed)
    return [(draws.randint(1, most), draws.uniform(0.0, 0.1)) for _ in range(count)]


@pytest.mark.slow
def test_twenty_kills_change_nothing(reference, tmp_path):
    words, whole = reference
    killed = kill_at(words, tmp_path / "out", moments_of(12, 20, n_paths(whole) // 20))
    assert killed >= 15  # the search may be done before the last
    check(tmp_path / "out", whole)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_workers_give_the_same_and_one_that_is_killed_goes_on(reference, tmp_path, engine):
    if engine == "ray" and find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    words, whole = reference
    output = tmp_path / "out"
    command = [sys.executable, "-m", "psst", *words, "--output", str(output), "--workers", "2"]
    process = subprocess.Popen(
        [*command, "--engine", engine], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    victim = wait_for_a_worker(output, process)
    os.kill(victim, signal.SIGKILL)
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    assert "its process was lost; it goes on" in errors
    check(output, whole)


def wait_for_a_worker(output, process):
    """The process that trains a unit which has a checkpoint."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        for path in output.glob("units/*/last.ckpt"):
            progress = path.parent / "progress.json"
            if progress.is_file():
                return json.loads(progress.read_text())[2]
        time.sleep(0.01)
    raise AssertionError("no worker was seen at work")
