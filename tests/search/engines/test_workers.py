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

import psst.search
from psst.search import SearchSettings
from psst.search.record import occupied
from tests.search.tasks import Columns, Heads
from tests.search.test_killed_search import WORDS, check

FEW = SearchSettings(
    auxiliary_weights=(0.0, 0.3), recalibration_batches=2, check_batches=2, mixes=(0.5,), checkpoint_every=2
)


def door(output, module=Heads, **changes):
    arguments = {"max_steps": 20, "monitor": "val/error", "mode": "min", "settings": FEW, **changes}
    return psst.search.search(module, Columns(), output=output, trainer={"accelerator": "cpu"}, **arguments)


@pytest.mark.slow
def test_the_door_gives_the_same_with_two_workers(tmp_path):
    one, two = door(tmp_path / "one"), door(tmp_path / "two", workers=2)
    assert two.chosen == one.chosen
    assert two.tests == one.tests
    check(tmp_path / "two", tmp_path / "one")


def test_objects_that_cannot_be_sent_are_refused_with_the_way_out(tmp_path):
    with pytest.raises(TypeError, match=r"`workers` sends `module_factory`.*top level of a module"):
        door(tmp_path / "out", module=lambda: Heads(), workers=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "named"), [({"workers": 0}, "`workers=0`"), ({"engine": "x"}, "`engine=x`")]
)
def test_impossible_engines_are_refused_before_anything_is_written(tmp_path, given, named):
    with pytest.raises(ValueError, match=named):
        door(tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_two_searches_at_once_in_a_folder_are_refused(tmp_path):
    refused = pytest.raises(ValueError, match=r"`--output .*` is in use")
    with occupied(tmp_path, "--output"), refused, occupied(tmp_path, "--output"):
        pass
    with occupied(tmp_path, "--output"):  # free again
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
    at_work = [json.loads(path.read_text())["process"] for path in output.glob("units/*/progress.json")]
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
            while not list(output.glob("units/anchor-*/last.ckpt")) and time.monotonic() < deadline:
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
    assert content["global_step"] == 16
    assert content["EpisodicDataModule" if "EpisodicDataModule" in content else "Glyphs"]["consumed"] == 32


@pytest.mark.slow
def test_a_strategy_that_brings_nothing_home_is_refused(tmp_path):
    words = [*WORDS, f"--data.init_args.cache_dir={tmp_path / 'cache'}", "--output", str(tmp_path / "out")]
    spawning = [*words, "--trainer.devices=2", "--trainer.accelerator=cpu", "--trainer.strategy=ddp_spawn"]
    search = subprocess.run(
        [sys.executable, "-m", "psst", *spawning], capture_output=True, text=True, check=False, timeout=200
    )
    assert search.returncode == 2
    assert "use `ddp`" in search.stderr
