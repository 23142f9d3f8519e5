import errno
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from psst.images.files import members, tars
from psst.images.files import unpack as module
from psst.images.files.archives import archive_entries, folder_entries
from psst.images.files.members import require_unique
from psst.images.files.unpack import unpack
from tests.images import hostile_archives as hostile
from tests.images.hostile_archives import GOOD
from tests.images.own_mounts import mounted

MAKE = {
    "a.zip": hostile.make_zip,
    "a.tar": hostile.make_tar,
    "a.tar.gz": lambda path, members: hostile.make_tar(path, members, "w:gz"),
    "a.tar.bz2": lambda path, members: hostile.make_tar(path, members, "w:bz2"),
    "a.tar.xz": lambda path, members: hostile.make_tar(path, members, "w:xz"),
}


def below(folder):
    """All files below a folder: path -> bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("there", [False, True])
def test_every_form_is_unpacked(tmp_path, name, there):
    path = MAKE[name](tmp_path / name, GOOD.items())
    folder = tmp_path / "new" / "data"
    if there:
        folder.mkdir(parents=True)
    assert unpack(path, folder) == folder
    assert below(folder) == GOOD
    assert below(tmp_path / "new").keys() == {f"data/{file}" for file in GOOD}  # nothing else, hidden or not


def test_folder_with_something_in_it_is_left_alone(tmp_path):
    path = MAKE["a.zip"](tmp_path / "a.zip", GOOD.items())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "own").write_bytes(b"own")
    for folder in (tmp_path / "data", tmp_path / "data" / "own"):
        with pytest.raises(FileExistsError, match=r"is there and not empty; unpack to a new folder"):
            unpack(path, folder)
    assert below(tmp_path / "data") == {"own": b"own"}


def cut(path, part):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    return path


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(bytes(data))
    return path


NOISE = [("x/a.png", os.urandom(20_000)), ("x/b.png", os.urandom(20_000))]
HOSTILE = {
    "zip slip": lambda p: hostile.make_zip(p, [("a.png", b"1"), ("../../evil", b"2")]),
    "zip absolute": lambda p: hostile.make_zip(p, [("a.png", b"1"), ("/tmp/evil", b"2")]),
    "zip drive": lambda p: hostile.make_zip(p, [("C:\\evil", b"2")]),
    "zip backslashes": lambda p: hostile.make_zip(p, [("a\\..\\..\\evil", b"2")]),
    "zip link": lambda p: hostile.make_zip(p, [hostile.zip_link("a", "/"), ("a/evil", b"2")]),
    "zip twice": lambda p: hostile.make_zip(p, [("a.png", b"1"), ("a.png", b"2")]),
    "zip file and folder": lambda p: hostile.make_zip(p, [("a", b"1"), ("a/b", b"2")]),
    "zip encrypted": hostile.zip_encrypted,
    "zip bomb": lambda p: hostile.zip_overlapping(p),
    "zip cut": lambda p: cut(hostile.make_zip(p, NOISE), 0.7),
    "zip damaged": lambda p: flip(hostile.make_zip(p, NOISE), 30_000),
    "tar slip": lambda p: hostile.make_tar(p, [("a.png", b"1"), ("../evil", b"2")]),
    "tar absolute": lambda p: hostile.make_tar(p, [("a.png", b"1"), ("/tmp/evil", b"2")]),
    "tar folder slip": lambda p: hostile.make_tar(p, [hostile.tar_link("../evil", "", tarfile.DIRTYPE)]),
    "tar link out": lambda p: hostile.make_tar(p, [hostile.tar_link("a", "../.."), ("a/evil", b"2")]),
    "tar link absolute": lambda p: hostile.make_tar(p, [hostile.tar_link("a", "/etc")]),
    "tar write through link": lambda p: hostile.make_tar(
        p, [("d/x", b""), hostile.tar_link("a", "d"), ("a/evil", b"2")]
    ),
    "tar links in a row": lambda p: hostile.make_tar(
        p, [("d/e/x", b""), hostile.tar_link("a", "d/e"), hostile.tar_link("b", "a/../../..")]
    ),
    "tar hard link out": lambda p: hostile.make_tar(p, [hostile.tar_link("a", "../evil", tarfile.LNKTYPE)]),
    "tar hard link absolute": lambda p: hostile.make_tar(
        p, [hostile.tar_link("a", "/etc/passwd", tarfile.LNKTYPE)]
    ),
    "tar device": lambda p: hostile.make_tar(p, [hostile.tar_link("a", "", tarfile.CHRTYPE)]),
    "tar pipe": lambda p: hostile.make_tar(p, [hostile.tar_link("a", "", tarfile.FIFOTYPE)]),
    "tar sparse": hostile.tar_sparse,
    "tar twice": lambda p: hostile.make_tar(p, [("a.png", b"1"), ("./a.png", b"2")]),
    "tar negative": lambda p: hostile.tar_with_size(p, -1024),
    "tar cut": lambda p: cut(hostile.make_tar(p, NOISE), 0.3),
    "tar cut between": lambda p: hostile_cut_between(p),
    "tgz cut": lambda p: cut(hostile.make_tar(p, NOISE, "w:gz"), 0.7),
    "tgz damaged": lambda p: flip(hostile.make_tar(p, NOISE, "w:gz"), 30_000),
    "web page": lambda p: p.write_bytes(b"<!DOCTYPE html><html>404</html>") and p,
    "empty": lambda p: p.write_bytes(b"") or p,
}


def hostile_cut_between(path):
    hostile.make_tar(path, GOOD.items())
    path.write_bytes(path.read_bytes()[: 512 + 1024])
    return path


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archive_leaves_nothing(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(module, "ARCHIVE_ALLOWANCE", 1 << 28)  # the overlapping bomb makes 1.6 GiB of 24 KiB
    home = tmp_path / "home"
    home.mkdir()
    (home / "earlier").write_bytes(b"data")
    archive = HOSTILE[kind](tmp_path / "archive")
    with pytest.raises(ValueError, match=r"/archive` ") as failure:
        unpack(archive, home / "data")
    assert below(tmp_path).keys() == {"archive", "home/earlier"}
    assert list(home.iterdir()) == [home / "earlier"]
    assert len(str(failure.value)) < 400


def test_links_inside_are_kept(tmp_path):
    links = [
        hostile.tar_link("train/a.png", "../images/a.png"),
        hostile.tar_link("hard.png", "images/b.png", tarfile.LNKTYPE),
        hostile.tar_link("all", "images"),
    ]
    path = hostile.make_tar(tmp_path / "a.tar", [*links, *GOOD.items()])
    folder = unpack(path, tmp_path / "data")
    assert (folder / "train" / "a.png").is_symlink()
    assert (folder / "all" / "a.png").read_bytes() == GOOD["images/a.png"]
    found = {entry.name: entry.read() for entry in folder_entries(folder, (".png",))}
    assert found == {entry.name: entry.read() for entry in archive_entries(path)}


def test_names_that_are_not_utf8_become_printable(tmp_path):
    path = hostile.make_tar(tmp_path / "a.tar", [(os.fsdecode(b"caf\xe9.png"), b"1")])
    assert below(unpack(path, tmp_path / "data")) == {r"caf\xe9.png": b"1"}


def test_permissions_of_the_archive_do_not_count(tmp_path):
    info = tarfile.TarInfo("a.png")
    info.mode, info.uid = 0o6777, 12345
    path = hostile.make_tar(tmp_path / "a.tar", [(info, b"1")])
    status = (unpack(path, tmp_path / "data") / "a.png").stat()
    assert status.st_mode & 0o7133 == 0
    assert status.st_uid == os.getuid()


def test_names_that_differ_by_case_clash_on_a_disk_without_cases(tmp_path):
    path = hostile.make_zip(tmp_path / "a.zip", [("A/x.png", b"1"), ("a/X.png", b"2")])
    names = ["A/x.png", "a/X.png"]
    require_unique(names, path)
    with pytest.raises(ValueError, match=r"holds `a/X.png` twice, the other time as `A/x.png`"):
        require_unique(names, path, cases=False)
    with pytest.raises(ValueError, match=r"holds `A` as a file and as a folder"):
        require_unique(["A", "a/X.png"], path, cases=False)
    (tmp_path / "probe").touch()
    if not (tmp_path / "PROBE").exists():
        assert below(unpack(path, tmp_path / "data")) == {"A/x.png": b"1", "a/X.png": b"2"}


SCRIPT = """
import sys, time
from pathlib import Path
from psst.images.files import unpack
exec(sys.argv[3])
try:
    print(unpack.unpack(Path(sys.argv[1]), Path(sys.argv[2])))
except (OSError, ValueError) as error:
    print(type(error).__name__, getattr(error, "errno", None), error)
"""
SLOW = """
copy = unpack._copy
unpack._copy = lambda *a: (copy(*a), time.sleep(0.2))
"""


def start(archive, folder, before="", wrapper=()):
    command = [*wrapper, sys.executable, "-c", SCRIPT, str(archive), str(folder), before]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def output(process):
    text, _ = process.communicate(timeout=60)
    return text.strip()


def test_killed_process_leaves_nothing_that_looks_finished(tmp_path):
    many = {f"x/{i}.png": b"1" for i in range(100)}
    path = hostile.make_zip(tmp_path / "a.zip", many.items())
    home = tmp_path / "home"
    process = start(path, home / "data", SLOW)
    deadline = time.monotonic() + 60
    while not (home / ".data.unpacking" / "x" / "2.png").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (home / "data").exists()
    assert (home / ".data.unpacking" / "x" / "2.png").exists()
    unpack(path, home / "data")
    assert below(home).keys() == {f"data/{name}" for name in many}


def test_two_processes_unpack_once(tmp_path):
    path = hostile.make_zip(tmp_path / "a.zip", GOOD.items())
    folder = tmp_path / "home" / "data"
    texts = sorted(output(process) for process in [start(path, folder, SLOW) for _ in range(2)])
    assert texts[0] == str(folder)
    assert texts[1].startswith(f"FileExistsError None `{folder}` is there and not empty")
    assert below(tmp_path / "home") == {f"data/{name}": data for name, data in GOOD.items()}


def test_disk_that_fills_up_leaves_nothing(tmp_path):
    path = hostile.make_zip(tmp_path / "a.zip", [("small.png", b"1"), ("large.png", os.urandom(200_000))])
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "earlier").write_bytes(b"data")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))"
    text = output(start(path, tmp_path / "home" / "data", limit))
    assert text.startswith(
        f"OSError {errno.EFBIG} [Errno {errno.EFBIG}] `large.png` of `{path}` cannot be written"
    )
    assert "nothing was kept" in text
    assert below(tmp_path / "home") == {"earlier": b"data"}


def test_read_only_folder_is_named(tmp_path):
    path = hostile.make_zip(tmp_path / "a.zip", GOOD.items())
    home = tmp_path / "home"
    home.mkdir()
    wrapper = mounted(f"mount --bind '{home}' '{home}'; mount -o remount,ro,bind '{home}'")
    text = output(start(path, home / "data", wrapper=wrapper))
    assert text.startswith(f"PermissionError {errno.EACCES} ")
    assert f"`{home}` cannot be written; unpack `{path}` to a folder that can" in text


def test_small_disk_is_seen_before_anything_is_written(tmp_path):
    path = hostile.make_zip(tmp_path / "a.zip", [("a.png", os.urandom(300_000))])
    home = tmp_path / "home"
    home.mkdir()
    wrapper = mounted(f"mount -t tmpfs -o size=200k tmpfs '{home}'")
    text = output(start(path, home / "data", wrapper=wrapper))
    assert text.startswith(f"OSError {errno.ENOSPC} ")
    assert f"`{path}` unpacks to 300000 bytes, and `{home}` has room for" in text


def test_bomb_in_a_compressed_tar_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tars, "ARCHIVE_ALLOWANCE", 1 << 22)
    path = hostile.gzip_bomb(tmp_path / "a.tgz", 1 << 26)
    with pytest.raises(ValueError, match=r"unpacks to more than 200 times"):
        unpack(path, tmp_path / "data")
    assert list(tmp_path.iterdir()) == [path]


def test_what_real_data_sets_reach_passes():
    """Packed and unpacked bytes: MNIST's images, CIFAR-100, Omniglot's background, a list of file names."""
    for packed, unpacked in [(9_912_422, 47_040_016), (169_001_437, 186_000_000), (9_464_212, 15_000_000)]:
        members.require_growth(unpacked, packed, 0, "`a`")
    with pytest.raises(ValueError, match="unpacks to more than 200 times its 1000 bytes"):
        members.require_growth(201_000, 1000, 200_000, "`a`")
