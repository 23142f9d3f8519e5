"""Ctrl-C and a full disk in the middle of a search: nothing half-written looks finished, the rest goes on."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.search.small import WORDS, results


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def command(cache: Path, output: Path) -> list[str]:
    where = [f"--data.init_args.cache_dir={cache}", "--output", str(output)]
    return [sys.executable, "-m", "psst", *WORDS, *where]


def finish(cache: Path, output: Path) -> None:
    """Run the same command to its end."""
    done = subprocess.run(command(cache, output), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert (output / "best.ckpt").is_file()


@pytest.mark.slow
def test_ctrl_c_stops_with_one_line_and_the_next_run_keeps_what_was_finished(cache, tmp_path):
    output = tmp_path / "out"
    search = subprocess.Popen(
        command(cache, output),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background shells ignore it
    )
    deadline = time.monotonic() + 200
    while not (output / "units" / "look1-main-only").is_dir() and time.monotonic() < deadline:
        time.sleep(0.02)
    search.send_signal(signal.SIGINT)
    _, errors = search.communicate(timeout=100)
    assert search.returncode == 130
    assert errors.strip().splitlines()[-1] == "psst: interrupted."
    assert "Traceback" not in errors
    assert "trunk-1" in results(output)
    assert not (output / "best.ckpt").exists()
    assert not (output / "metrics.json").exists()
    trunk = (output / "units" / "trunk-1" / "model.ckpt").stat().st_mtime_ns
    finish(cache, output)
    assert (output / "units" / "trunk-1" / "model.ckpt").stat().st_mtime_ns == trunk


@pytest.mark.slow
def test_a_disk_that_fills_up_is_an_error_and_counts_no_unit(cache, tmp_path):
    """A limit on file size makes the kernel refuse the write of the checkpoint, as a full disk would."""
    output = tmp_path / "out"

    def small_files_only() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    full = subprocess.run(
        command(cache, output),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=small_files_only,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert full.returncode == 2
    assert "Traceback" not in full.stderr
    assert "psst: error:" in full.stderr
    assert not (output / "manifest.json").exists()
    finish(cache, output)
