"""Searches in several processes: the Python door, Ctrl-C, and ranks that train a unit together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from psst.search.record import occupied
from tests.search.small import WORDS, command, door
from tests.search.test_killed_search import check


@pytest.mark.slow
def test_the_door_gives_the_same_with_two_workers(tmp_path):
    one, two = door(tmp_path / "one"), door(tmp_path / "two", workers=2)
    assert two.handed_over == one.handed_over
    assert {name: test.metric for name, test in two.tests.items()} == {
        n: t.metric for n, t in one.tests.items()
    }
    check(tmp_path / "two", tmp_path / "one")


def test_a_second_search_in_a_folder_is_refused_and_the_first_is_untouched(tmp_path):
    folder = tmp_path / "out"
    with occupied(folder, "--output"):
        (folder / "config.yaml").write_text("the first one's")
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        with pytest.raises(ValueError, match=r"`--output .*` is in use"):
            command(folder, "--seed_everything=5")
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with occupied(folder, "--output"):  # free again
        pass


@pytest.mark.slow
@pytest.mark.parametrize("signalled", [signal.SIGINT, signal.SIGKILL])
def test_a_search_that_is_stopped_leaves_no_process_behind(tmp_path, signalled):
    output = tmp_path / "out"
    words = [*WORDS, f"--data.init_args.cache_dir={tmp_path / 'cache'}", "--output", str(output)]
    search = subprocess.Popen(
        [sys.executable, "-m", "psst", *words, "--trainer.max_steps=4000", "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 200
    while len(list(output.glob("units/*/last.ckpt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    at_work = [json.loads(path.read_text())[2] for path in output.glob("units/*/progress.json")]
    assert len(at_work) == 2
    if signalled == signal.SIGINT:
        os.killpg(search.pid, signalled)  # as a terminal does: to all processes
        _, errors = search.communicate(timeout=60)
        assert search.returncode == 130
        assert errors.strip().splitlines()[-1] == "psst: interrupted."
        assert "Traceback" not in errors
    else:
        search.kill()
        search.wait()
    while any(Path(f"/proc/{pid}").exists() for pid in at_work) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{pid}").exists() for pid in at_work)


RANKS = ["--trainer.devices=2", "--trainer.accelerator=cpu", "--trainer.strategy=ddp"]


def on_two_ranks(words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "psst", *words, *RANKS], start_new_session=True, text=True, **options
    )


@pytest.mark.slow
def test_two_ranks_search_as_one_and_go_on_after_a_kill(tmp_path):
    words = [*WORDS, f"--data.init_args.cache_dir={tmp_path / 'cache'}"]
    for name in ("whole", "killed"):
        output = tmp_path / name
        arguments = [*words, "--output", str(output)]
        if name == "killed":
            search = on_two_ranks(arguments, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 200
            while not list(output.glob("units/look1-*/last.ckpt")) and time.monotonic() < deadline:
                time.sleep(0.01)
            os.killpg(search.pid, signal.SIGKILL)
            search.wait()
            assert not (output / "front.csv").exists()
        search = on_two_ranks(arguments, stderr=subprocess.PIPE)
        _, errors = search.communicate(timeout=400)
        assert search.returncode == 0, errors
    check(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_two_ranks_fit(tmp_path):
    words = [word for word in WORDS[1:] if not word.startswith("--search")]
    where = [f"--data.init_args.cache_dir={tmp_path / 'cache'}", f"--trainer.default_root_dir={tmp_path}"]
    fit = on_two_ranks(["fit", *words, *where], stderr=subprocess.PIPE)
    _, errors = fit.communicate(timeout=200)
    assert fit.returncode == 0, errors
    (checkpoint,) = tmp_path.rglob("checkpoints/*.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    assert content["global_step"] == 20
    assert content["EpisodicDataModule" if "EpisodicDataModule" in content else "Glyphs"]["consumed"] == 40


@pytest.mark.slow
def test_a_strategy_that_brings_nothing_home_is_refused(tmp_path):
    words = [*WORDS, f"--data.init_args.cache_dir={tmp_path / 'cache'}", "--output", str(tmp_path / "out")]
    spawning = [*words, "--trainer.devices=2", "--trainer.accelerator=cpu", "--trainer.strategy=ddp_spawn"]
    search = subprocess.run(
        [sys.executable, "-m", "psst", *spawning], capture_output=True, text=True, check=False, timeout=200
    )
    assert search.returncode == 2
    assert "use `ddp`" in search.stderr
