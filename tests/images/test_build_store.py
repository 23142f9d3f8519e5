"""Stores are whole or absent: the faults (full disk, Ctrl-C, kill) are real, in processes of their own."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from psst.images import ImageRecord, build_store
from psst.images.build import _folder


def folder_of(source, size, cache):
    return _folder(source.name, size, source.key(size), cache)


class Squares:
    """Ten gray images a class; `delay` seconds to decode one; counts what it decodes.

    From the hundredth on, images wait for the file `gate` to appear.
    """

    name, channels = "squares", 1

    def __init__(self, n_images=20, delay=0.0, damaged=(), split=lambda i: "train", gate=None):
        self.n_images, self.delay, self.damaged, self.split = n_images, delay, damaged, split
        self.gate = gate
        self.n_decoded = 0

    def key(self, size):
        return {"n_images": self.n_images}

    def scan(self):
        return [ImageRecord(f"class{i // 10}", self.split(i), i) for i in range(self.n_images)]

    def decode(self, record, size):
        self.n_decoded += 1
        time.sleep(self.delay)
        while self.gate and record.reference >= 100 and not self.gate.exists():
            time.sleep(0.01)
        if record.reference in self.damaged:
            raise ValueError(f"`{record.reference}.png` is not an image")
        return np.full((size, size, 1), record.reference % 256, np.uint8)


BUILD = """
import sys
from pathlib import Path
sys.path[:0] = [{here!r}, {root!r}]
from test_build_store import Squares
from psst.images import build_store
from psst import waiting
waiting._PATIENCE = 0.2
print("go", flush=True)
source = Squares(n_images={n_images}, delay={delay}, gate={gate} and Path({gate}))
build_store(source, {size}, Path(sys.argv[1]), workers=2)
print("done", source.n_decoded, flush=True)
"""


def script(n_images=2000, delay=0.0, size=4, gate=""):
    here, options = Path(__file__), {"n_images": n_images, "delay": delay, "size": size}
    return BUILD.format(here=str(here.parent), root=str(here.parents[2]), gate=repr(str(gate)), **options)


PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def begun(cache, n_images=2000, **options):
    """A build in a process of its own, once it writes images."""
    command = [sys.executable, "-c", script(n_images, **options), str(cache)]
    process = subprocess.Popen(command, **PIPES, preexec_fn=listen_to_ctrl_c)
    assert process.stdout.readline() == "go\n"
    folder = folder_of(Squares(n_images), options.get("size", 4), cache)
    while not (cache / f"{folder.name}.partial" / "images.npy").exists():
        assert process.poll() is None
        time.sleep(0.01)
    return process


def listen_to_ctrl_c():
    """A test runner in the background of a shell ignores SIGINT, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finished(cache):
    return [path.name for path in cache.iterdir() if (path / "meta.json").exists()]


def leftovers(cache):
    return [path.name for path in cache.iterdir() if path.is_dir()]


def test_second_call_opens_without_decoding(tmp_path):
    source = Squares()
    first = build_store(source, 4, tmp_path)
    again = build_store(source, 4, tmp_path)
    assert source.n_decoded == 20
    assert again.folder == first.folder == folder_of(source, 4, tmp_path)


def test_size_and_options_decide_the_folder(tmp_path):
    folders = {folder_of(Squares(n), size, tmp_path) for n in (10, 20) for size in (4, 8)}
    assert len(folders) == 4


def test_result_does_not_depend_on_the_number_of_workers(tmp_path):
    sums = {
        build_store(Squares(600), 3, tmp_path / str(n), workers=n).meta["sha256"]["images.npy"]
        for n in (1, 2, 5)
    }
    assert len(sums) == 1


def test_damaged_images_are_counted_and_the_first_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"2 of 20 images are damaged; the first: `3.png`"):
        build_store(Squares(damaged=(3, 11)), 4, tmp_path)
    assert leftovers(tmp_path) == []
    build_store(Squares(), 4, tmp_path)


def test_class_in_two_splits_is_refused(tmp_path):
    source = Squares(split=lambda i: "val" if i == 7 else "train")
    with pytest.raises(ValueError, match=r"class `class0` of squares is in split 'train' and in split 'val'"):
        build_store(source, 4, tmp_path)


def test_class_in_two_groups_is_refused(tmp_path):
    class Grouped(Squares):
        def scan(self):
            return [ImageRecord("one", "train", i, "left" if i < 3 else "right") for i in range(9)]

    with pytest.raises(ValueError, match=r"class `one` of squares is in group 'left' and in group 'right'"):
        build_store(Grouped(), 4, tmp_path)


def test_unknown_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"class `class1` of squares is in split 'dev'; a split is one of"):
        build_store(Squares(split=lambda i: "train" if i < 10 else "dev"), 4, tmp_path)
    assert leftovers(tmp_path) == []


def test_no_training_images_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"squares has no training images; 2 classes in other splits"):
        build_store(Squares(split=lambda i: "test"), 4, tmp_path)


def test_concurrent_builds_decode_once(tmp_path):
    source = Squares(delay=0.01)
    threads = [threading.Thread(target=build_store, args=(source, 4, tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.n_decoded == 20
    assert len(finished(tmp_path)) == 1


def test_second_process_says_that_it_waits_and_decodes_nothing(tmp_path):
    cache, gate = tmp_path / "cache", tmp_path / "gate"
    cache.mkdir()
    with begun(cache, n_images=300, gate=gate) as first:
        with subprocess.Popen([sys.executable, "-c", script(300), str(cache)], **PIPES) as second:
            assert "is being prepared by another process; waiting" in second.stderr.readline()
            gate.touch()
            assert second.communicate(timeout=60) == ("go\ndone 0\n", "")
        assert "done 300" in first.communicate(timeout=60)[0]


def test_wait_ends_when_the_builder_is_killed(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    command = [sys.executable, "-c", script(300), str(cache)]
    with (
        begun(cache, n_images=300, gate=tmp_path / "gate") as first,
        subprocess.Popen(command, **PIPES) as second,
    ):
        assert "waiting" in second.stderr.readline()
        first.kill()
        assert "done 300" in second.communicate(timeout=60)[0]
    assert len(finished(cache)) == len(leftovers(cache)) == 1


def test_progress_bar_goes_to_stderr_and_counts_images(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    build_store(Squares(), 4, tmp_path)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "squares at 4 x 4" in captured.err
    assert "20/20" in captured.err


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_build_leaves_nothing_finished_and_the_next_succeeds(tmp_path, stop):
    with begun(tmp_path, delay=0.005) as process:
        process.send_signal(stop)
        out, err = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "done" not in out
    assert finished(tmp_path) == []
    if stop == signal.SIGINT:
        assert "KeyboardInterrupt" in err
        assert leftovers(tmp_path) == []
    store = build_store(Squares(2000), 4, tmp_path)
    store.verify()
    assert leftovers(tmp_path) == [store.folder.name]


def test_file_size_limit_leaves_nothing_and_names_the_way_out(tmp_path):
    resource = pytest.importorskip("resource")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731 - a single call
    command = [sys.executable, "-c", script(size=32), str(tmp_path)]
    run = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, timeout=60)
    assert run.returncode != 0
    assert "no room for the store" in run.stderr
    assert "`data.init_args.cache_dir`" in run.stderr
    assert leftovers(tmp_path) == []
    build_store(Squares(2000), 32, tmp_path).verify()


def in_namespace(commands, *arguments):
    """Run shell commands as root in a mount namespace that goes with the process; 77 skips the test."""
    if not shutil.which("unshare") or os.getuid() != 0:
        pytest.skip("needs root to mount")
    command = ["unshare", "-m", "sh", "-c", commands, "sh", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if run.returncode == 77 or "unshare" in run.stderr:
        pytest.skip("mounting is not permitted here")
    return run


def test_read_only_cache_is_named_and_serves_what_it_has(tmp_path):
    build_store(Squares(50), 4, tmp_path)
    build = '"$2" -c "$3" "$1" && "$2" -c "$4" "$1"'
    commands = f'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 77; {build}'
    run = in_namespace(commands, tmp_path, sys.executable, script(50), script(60))
    assert run.stdout.split() == ["go", "done", "0", "go"]
    assert (
        f"[Errno 30] no store can be made in `data.init_args.cache_dir={tmp_path}` (Read-only" in run.stderr
    )
    assert len(leftovers(tmp_path)) == 1


def test_cache_that_is_not_ours_is_named(tmp_path):
    if os.getuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(
        PermissionError, match=r"no store can be made in `data.init_args.cache_dir=.*Permission"
    ):
        build_store(Squares(), 4, tmp_path)


@pytest.mark.parametrize("below", ["", "deeper"])
def test_file_in_place_of_the_cache_is_named(tmp_path, below):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(
        OSError, match=r"no store can be made in `data.init_args.cache_dir=.*(File exists|Not a directory)"
    ):
        build_store(Squares(), 4, tmp_path / "cache" / below)
    assert (tmp_path / "cache").read_text() == "a file"


def test_full_disk_leaves_nothing_and_names_the_way_out(tmp_path):
    """A file system of one MiB."""
    commands = (
        'mount -t tmpfs -o size=1m tmpfs "$1" || exit 77; "$2" -c "$3" "$1"; code=$?; ls -A "$1"; exit $code'
    )
    run = in_namespace(commands, tmp_path, sys.executable, script(size=64))
    assert run.returncode == 1
    assert "[Errno 28] no room for the store" in run.stderr
    assert [line for line in run.stdout.split() if not line.endswith(".lock")] == ["go"]
