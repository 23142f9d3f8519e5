import errno
import gzip
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from psst.images.files.download import RemoteFile, fetch
from tests.images.file_server import CUT, serving
from tests.images.own_mounts import mounted

DATA = np.random.default_rng(0).bytes(400_000)
PACKED = gzip.compress(b"a file that lies compressed on the server")
NAME = "images.zip"


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.fixture
def server():
    with serving({NAME: DATA, "packed.gz": PACKED, "two words.zip": DATA}) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr("psst.images.files.download._PAUSE", 0.01)


def remote(server, *ways, size=None, data=DATA, name=NAME):
    return RemoteFile(name, tuple(f"{server.url}/{way}/{name}" for way in ways), sha256(data), size)


def left(folder):
    """Everything below the folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("size", [None, len(DATA)])
@pytest.mark.parametrize(
    "way", ["good", "cut", "norange", "cutnorange", "nolength", "chunked", "redirect/good", "redirect/cut"]
)
def test_file_arrives_whole_and_alone(server, tmp_path, way, size):
    folder = tmp_path / "new" / "data"
    assert fetch([remote(server, way, size=size)], folder) == [folder / NAME]
    assert (folder / NAME).read_bytes() == DATA
    assert left(folder) == [NAME]


def test_cut_connection_is_continued_where_it_ended(server, tmp_path):
    fetch([remote(server, "cut")], tmp_path)
    ranges = [asked for _, asked in server.asked]
    assert ranges[0] is None
    assert ranges[1:]
    assert all(int(asked.removeprefix("bytes=").rstrip("-")) > CUT // 2 for asked in ranges[1:])


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("status/404", "answers with status 404"),
        ("status/403", "answers with status 403"),
        ("status/500", "answers with status 500"),
        (
            "html",
            "sends a web page titled 'Google Drive - Quota exceeded' instead of the file",
        ),
        ("wrong", "sends another file, sha256:"),
        ("wrongcut", "sends another file, sha256:"),
        ("longer", "offers 400004 bytes, the file has 400000"),
        ("endless", "sends more than the 400000 bytes"),
        ("never", "the connection broke, 3 times in a row at byte 0"),
        ("redirect/html", "sends a web page"),
    ],
)
def test_bad_mirror_is_named_and_the_next_one_used(server, tmp_path, way, reason):
    file = remote(server, way, size=len(DATA))
    with pytest.raises(ConnectionError) as failure:
        fetch([file], tmp_path / "alone", manual="Ask the authors at https://example.org/form.")
    message = str(failure.value)
    assert f"    {server.url}/{way}/{NAME}: {reason}" in message
    assert f"`{NAME}` (400000 bytes, {file.hash})" in message
    assert f"put them into `{tmp_path / 'alone'}` under these names. Ask the authors at" in message
    assert not (tmp_path / "alone" / NAME).exists()
    fetch([remote(server, way, "good", size=len(DATA))], tmp_path)
    assert (tmp_path / NAME).read_bytes() == DATA


def test_every_mirror_and_file_is_in_the_message(server, tmp_path):
    files = [remote(server, "status/404", "html"), RemoteFile("own.tar", (), "md5:" + "0" * 32, 12)]
    with pytest.raises(ConnectionError) as failure:
        fetch(files, tmp_path, mirror=f"{server.url}/status/410/")
    message = str(failure.value)
    order = [
        "/status/410/images.zip: ",
        "/status/404/images.zip: ",
        "/html/images.zip: ",
        "`own.tar` (12 bytes",
    ]
    places = [message.index(text) for text in order]
    assert places == sorted(places)
    assert "data.init_args.mirror" in message
    assert left(tmp_path) == []  # nothing but what may be continued is kept


def test_a_file_that_fails_does_not_keep_the_others_back(server, tmp_path):
    files = [remote(server, "status/404", name="two words.zip"), remote(server, "good")]
    with pytest.raises(ConnectionError, match=r"two words\.zip"):
        fetch(files, tmp_path)
    assert left(tmp_path) == [NAME]


def test_mirror_comes_first(server, tmp_path):
    file = remote(server, "status/404", name="two words.zip")
    server.files["two%20words.zip"] = DATA
    assert fetch([file], tmp_path, mirror=f"{server.url}/good/")[0].read_bytes() == DATA
    assert [path for path, _ in server.asked] == ["/good/two%20words.zip"]


def test_nobody_listening_is_said_in_few_words(tmp_path):
    with pytest.raises(
        ConnectionError, match=r"http://127\.0\.0\.1:9/x: .*refused, 3 times in a row at byte 0"
    ) as failure:
        fetch([RemoteFile("x", ("http://127.0.0.1:9/x",), sha256(b""))], tmp_path)
    assert "object at 0x" not in str(failure.value)
    assert "HTTPConnection" not in str(failure.value)


def test_silent_server_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("psst.images.files.download._TIMEOUT", (0.2, 0.2))
    import socket

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/x"
        with pytest.raises(ConnectionError, match="timed out"):
            fetch([RemoteFile("x", (url,), sha256(b""))], tmp_path)


def test_compressed_file_is_not_decompressed_on_the_way(server, tmp_path):
    path = fetch([remote(server, "encoded", data=PACKED, name="packed.gz")], tmp_path)[0]
    assert path.read_bytes() == PACKED


def test_md5_is_enough(server, tmp_path):
    file = RemoteFile(NAME, (f"{server.url}/good/{NAME}",), "md5:" + hashlib.md5(DATA).hexdigest().upper())
    assert fetch([file], tmp_path)[0].read_bytes() == DATA


def test_file_that_is_there_is_kept_without_a_request(server, tmp_path):
    (tmp_path / NAME).write_bytes(DATA)
    before = (tmp_path / NAME).stat()
    fetch([remote(server, "good")], tmp_path)
    assert (tmp_path / NAME).stat().st_mtime_ns == before.st_mtime_ns
    assert server.asked == []
    assert left(tmp_path) == [NAME]


def test_file_with_another_hash_is_left_alone_and_named(server, tmp_path):
    (tmp_path / NAME).write_bytes(b"the user's own")
    with pytest.raises(ValueError, match=r"left alone; move it away, or delete it") as failure:
        fetch([remote(server, "good")], tmp_path)
    assert sha256(DATA) in str(failure.value)
    assert sha256(b"the user's own") in str(failure.value)
    assert (tmp_path / NAME).read_bytes() == b"the user's own"
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        fetch([remote(server, "good")], tmp_path)


@pytest.mark.parametrize("kept", [DATA[:1000], b"y" * 1000, b"y" * len(DATA), b"y" * (len(DATA) + 9), DATA])
@pytest.mark.parametrize("way", ["good", "norange", "wrongrange", "cut"])
@pytest.mark.parametrize("size", [None, len(DATA)])
def test_whatever_an_earlier_try_left_the_result_is_right(server, tmp_path, kept, way, size):
    (tmp_path / f".{NAME}.part").write_bytes(kept)
    fetch([remote(server, way, size=size)], tmp_path)
    assert (tmp_path / NAME).read_bytes() == DATA
    assert left(tmp_path) == [NAME]


def test_whole_file_that_was_not_renamed_is_not_downloaded_again(server, tmp_path):
    (tmp_path / f".{NAME}.part").write_bytes(DATA)
    fetch([remote(server, "good")], tmp_path)
    assert server.asked == []
    assert (tmp_path / NAME).read_bytes() == DATA


def test_web_page_does_not_cost_the_part_at_hand(server, tmp_path):
    (tmp_path / f".{NAME}.part").write_bytes(DATA[:300_000])
    with pytest.raises(ConnectionError, match="web page"):
        fetch([remote(server, "html", "status/500")], tmp_path)
    assert (tmp_path / f".{NAME}.part").read_bytes() == DATA[:300_000]
    fetch([remote(server, "good")], tmp_path)
    assert server.asked[-1][1] == "bytes=300000-"


def test_root_that_is_a_file_is_named(server, tmp_path):
    (tmp_path / "data").write_bytes(b"1")
    with pytest.raises(OSError, match=r"data.init_args.root=.*/data` .*; free some space, or set"):
        fetch([remote(server, "good")], tmp_path / "data")
    assert (tmp_path / "data").read_bytes() == b"1"


@pytest.mark.parametrize("mirror", ["ftp://me:secret@host", "https://me:secret@", "host/me:secret"])
def test_mirror_must_be_an_address(tmp_path, mirror):
    with pytest.raises(ValueError, match=r"`data.init_args.mirror=.*` must begin") as failure:
        fetch([], tmp_path, mirror=mirror)
    assert "secret@" not in str(failure.value)


# Other processes: each runs this with its own limits.
SCRIPT = """
import sys
from pathlib import Path
from psst.images.files.download import RemoteFile, fetch
url, hash, folder, before = sys.argv[1:]
file = RemoteFile("images.zip", (url,), hash)
exec(before)
try:
    print(fetch([file], Path(folder))[0].stat().st_size)
except (OSError, ValueError) as error:
    print(type(error).__name__, getattr(error, "errno", None), error)
"""


def start(server, way, folder, before="", wrapper=()):
    command = [
        *wrapper,
        sys.executable,
        "-c",
        SCRIPT,
        f"{server.url}/{way}/{NAME}",
        sha256(DATA),
        str(folder),
    ]
    return subprocess.Popen(
        [*command, before], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


def output(process):
    text, _ = process.communicate(timeout=60)
    return text.strip()


def test_killed_process_is_continued(server, tmp_path):
    process = start(server, "slow", tmp_path)
    part = tmp_path / f".{NAME}.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 100_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / NAME).exists()
    had = part.stat().st_size
    assert 100_000 < had < len(DATA)
    fetch([remote(server, "good")], tmp_path)
    assert server.asked[-1][1] == f"bytes={had}-"
    assert (tmp_path / NAME).read_bytes() == DATA
    assert left(tmp_path) == [NAME]


def test_full_disk_keeps_the_part_and_what_was_there(server, tmp_path):
    (tmp_path / "earlier").write_bytes(b"data")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200000, 200000))"
    text = output(start(server, "good", tmp_path, limit))
    assert text.startswith(
        f"OSError {errno.EFBIG} [Errno {errno.EFBIG}] `{NAME}` ({sha256(DATA)}) cannot be saved"
    )
    assert "to a folder that you may write. What was downloaded is kept" in text
    assert (tmp_path / "earlier").read_bytes() == b"data"
    assert not (tmp_path / NAME).exists()
    fetch([remote(server, "good")], tmp_path)
    assert server.asked[-1][1] is not None
    assert left(tmp_path) == ["earlier", NAME]


def test_small_disk_is_seen_before_anything_is_written(server, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    wrapper = mounted(f"mount -t tmpfs -o size=200k tmpfs '{small}'")
    text = output(start(server, "good", small, wrapper=wrapper))
    assert text.startswith(f"OSError {errno.ENOSPC} ")
    assert "400000 bytes are needed" in text
    assert "are free" in text
    text = output(start(server, "nolength", small, wrapper=wrapper))  # seen when it is full
    assert text.startswith(f"OSError {errno.ENOSPC} ")
    assert "What was downloaded is kept" in text


def test_read_only_folder_is_named(server, tmp_path):
    folder = tmp_path / "fixed"
    folder.mkdir()
    wrapper = mounted(f"mount --bind '{folder}' '{folder}'; mount -o remount,ro,bind '{folder}'")
    text = output(start(server, "good", folder, wrapper=wrapper))
    assert text.startswith(f"OSError {errno.EROFS} ")
    assert f"`data.init_args.root={folder}` (Read-only file system); free some space, or set" in text
    assert server.asked == []
    (folder / NAME).write_bytes(DATA)  # with the file there, nothing needs to be written
    assert output(start(server, "good", folder, wrapper=wrapper)) == str(len(DATA))


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs root to become another user")
def test_folder_of_another_user_is_named(server):
    with tempfile.TemporaryDirectory() as name:  # pytest's folders can be entered by their user only
        folder = Path(name)
        folder.chmod(0o755)
        text = output(start(server, "good", folder, "import requests, os; os.setuid(65534)"))
        assert left(folder) == []
    assert text.startswith(f"PermissionError {errno.EACCES} ")
    assert "set `data.init_args.root` to a folder that you may write" in text


def test_progress_shows_only_on_a_terminal(server, tmp_path, capfd):
    fetch([remote(server, "good")], tmp_path)
    assert capfd.readouterr() == ("", "")
    import pty

    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    command = [
        sys.executable,
        "-c",
        SCRIPT,
        f"{server.url}/slow/{NAME}",
        sha256(DATA),
        str(tmp_path / "b"),
        "",
    ]
    process = subprocess.Popen(command, stderr=terminal, stdout=subprocess.DEVNULL, env=environment)
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # the terminal's other end is closed
        while piece := os.read(controller, 4096):
            shown += piece
    assert process.wait(timeout=60) == 0
    os.close(controller)
    shown = shown.decode()
    assert NAME in shown
    assert "0:00:0" in shown  # the time left


def test_two_processes_at_once_download_once_and_who_waits_says_so(server, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("psst.waiting._PATIENCE", 0.1)
    process = start(server, "slow", tmp_path)
    deadline = time.monotonic() + 60
    while not server.asked and time.monotonic() < deadline:
        time.sleep(0.02)
    fetch([remote(server, "good")], tmp_path)
    assert output(process) == str(len(DATA))
    assert f"`{tmp_path / NAME}` is being downloaded by another process; waiting" in capfd.readouterr().err
    assert len(server.asked) == 1
    assert (tmp_path / NAME).read_bytes() == DATA
    assert left(tmp_path) == [NAME]
