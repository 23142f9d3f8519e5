import json
import os
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from psst.images.files import archives
from psst.images.files.archives import archive_entries
from psst.images.files.paths import require_folder
from psst.images.sources.image_tree import ImageTree
from tests.images import hostile_archives as hostile

FILES = {f"images/{i:03}.png": bytes([i]) * (i * 37 + 1) for i in range(40)}
COMPRESSED = {"gz": "a.tar.gz", "bz2": "a.tar.bz2", "xz": "a.tar.xz"}


@pytest.fixture
def three_forms(tmp_path):
    """The same files in a folder, a zip and a tar."""
    folder = tmp_path / "folder"
    zipped = zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED)
    with zipped, tarfile.open(tmp_path / "a.tar", "w") as tarred:
        for name, data in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
            zipped.writestr(name, data)
            tarred.add(folder / name, name)
    return folder, tmp_path / "a.zip", tmp_path / "a.tar"


def contents(entries):
    entries = list(entries)
    with ThreadPoolExecutor(8) as pool:
        return dict(zip((e.name for e in entries), pool.map(lambda e: e.read(), entries), strict=True))


def test_all_forms_give_the_same_files_from_many_threads(three_forms):
    folder, zipped, tarred = three_forms
    for entries in (ImageTree.grow(folder).entries(), archive_entries(zipped), archive_entries(tarred)):
        assert contents(entries) == FILES


@pytest.mark.parametrize("form", COMPRESSED)
def test_compressed_tar_is_read_from_many_threads(three_forms, tmp_path, form):
    path = tmp_path / COMPRESSED[form]
    with tarfile.open(path, f"w:{form}") as archive:
        archive.add(three_forms[0] / "images", "./images")
    files = sorted(tmp_path.iterdir())
    assert contents(archive_entries(path)) == FILES
    assert sorted(tmp_path.iterdir()) == files  # decompressed out of sight


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
def test_decompressed_file_goes_when_the_last_entry_goes(tmp_path):
    path = hostile.make_tar(tmp_path / "a.tgz", hostile.GOOD.items(), "w:gz")
    before = len(list(Path("/proc/self/fd").iterdir()))
    entries = list(archive_entries(path))
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    last = entries.pop()
    del entries
    assert last.read() == hostile.GOOD[last.name]
    del last
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_entries_say_where_they_lie(three_forms):
    folder, zipped, _ = three_forms
    assert str(next(ImageTree.grow(folder).entries())) == f"{folder}/images/000.png"
    assert str(next(archive_entries(zipped))) == f"{zipped}: images/000.png"


def test_kind_is_seen_in_the_bytes_not_the_name(three_forms, tmp_path):
    _, zipped, tarred = three_forms
    assert contents(archive_entries(zipped.rename(tmp_path / "x.tar"))) == FILES
    assert contents(archive_entries(tarred.rename(tmp_path / "x.zip"))) == FILES
    with tarfile.open(tmp_path / "old.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(tmp_path / "x.tar", "a.png")
    old = bytearray((tmp_path / "old.tar").read_bytes())
    checksum = int(old[148:154], 8) - sum(old[257:265])
    old[257:265], old[148:156] = bytes(8), b"%06o\0 " % checksum  # as before POSIX
    (tmp_path / "old.tar").write_bytes(old)
    assert contents(archive_entries(tmp_path / "old.tar")) == {"a.png": (tmp_path / "x.tar").read_bytes()}


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b" <!DOCTYPE html><html>", r"but a web page \(a download that went wrong leaves one\)"),
        (b"Rar!\x1a\x07", "but an archive in rar format"),
        (b"7z\xbc\xaf'\x1c", "but an archive in 7z format"),
        (b"\x28\xb5\x2f\xfd", "but a file compressed by zstd"),
        (b"", ""),
        (b"x" * 600, ""),
    ],
)
def test_what_is_no_archive_is_named(tmp_path, data, what):
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ValueError, match=rf"a.zip` is no zip and no tar archive .*{what}; download it again"):
        archive_entries(tmp_path / "a.zip")


def test_a_folder_that_leads_out_of_a_tar_is_refused(tmp_path):
    path = hostile.make_tar(tmp_path / "a.tar", [hostile.tar_link("../evil", "", tarfile.DIRTYPE)])
    with pytest.raises(ValueError, match=r"/a.tar` .*leads out"):
        list(archive_entries(path))


def test_flipped_bits_in_a_compressed_tar_are_named(tmp_path):
    path = hostile.make_tar(tmp_path / "a.tgz", [("a.png", os.urandom(20_000))], "w:gz")
    data = bytearray(path.read_bytes())
    data[15_000] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"a.tgz` cannot be read as a tar archive"):
        list(archive_entries(path))


def test_what_real_data_sets_reach_passes():
    """Packed and unpacked bytes: MNIST's images, CIFAR-100, Omniglot's background, a list of file names."""
    for packed, unpacked in [(9_912_422, 47_040_016), (169_001_437, 186_000_000), (9_464_212, 15_000_000)]:
        archives._require_growth(unpacked, packed, 0, "`a`")
    with pytest.raises(ValueError, match="unpacks to more than 200 times its 1000 bytes"):
        archives._require_growth(201_000, 1000, 200_000, "`a`")


def test_unreadable_zip_is_named(three_forms):
    _, zipped, _ = three_forms
    zipped.write_bytes(zipped.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"a.zip` cannot be read as a zip archive"):
        list(archive_entries(zipped))


def test_damaged_member_of_a_zip_is_named(three_forms):
    _, zipped, _ = three_forms
    data = bytearray(zipped.read_bytes())
    start = data.index(b"images/001.png") + len(b"images/001.png")
    data[start : start + 4] = b"\xff\xff\xff\xff"
    zipped.write_bytes(bytes(data))
    entry = next(e for e in archive_entries(zipped) if e.name == "images/001.png")
    with pytest.raises(ValueError, match=r"`images/001.png` in `.*a.zip` cannot be read"):
        entry.read()


# 700: inside the first member, 1024: after it, 512: after its header
@pytest.mark.parametrize("keep", [0, 100, 512, 700, 1024, 1024 * 30 + 100, 4096])
@pytest.mark.parametrize("form", ["", *COMPRESSED])
def test_truncated_tar_is_named(three_forms, tmp_path, keep, form):
    cut = three_forms[2].read_bytes()[:keep]
    path = tmp_path / "cut.tar"
    opener = (
        archives._OPENERS[{"gz": "a gzip archive", "bz2": "a bzip2 archive", "xz": "an xz archive"}[form]]
        if form
        else open
    )
    with opener(path, "wb") as file:
        file.write(cut)
    with pytest.raises(ValueError, match=r"cut.tar` (cannot be read as a|is no zip and no) tar archive"):
        list(archive_entries(path))


@pytest.mark.parametrize("form", COMPRESSED)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_truncated_compression_is_named(three_forms, tmp_path, form, part):
    path = tmp_path / COMPRESSED[form]
    with tarfile.open(path, f"w:{form}") as archive:
        archive.add(three_forms[0], "x")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(ValueError, match=r"a.tar.*` cannot be read as a tar archive"):
        list(archive_entries(path))


def test_tar_says_inside_which_member_it_ends(tmp_path):
    path = hostile.make_tar(tmp_path / "a.tar", hostile.GOOD.items())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"\(it ends inside images/a.png\)"):
        list(archive_entries(path))


def test_tar_that_shrinks_while_it_is_read_is_named(three_forms):
    tarred = three_forms[2]
    *_, last = archive_entries(tarred)
    tarred.write_bytes(tarred.read_bytes()[:5000])
    with pytest.raises(ValueError, match=rf"`{last.name}` in .* the archive changed while it was read"):
        last.read()


LEADING_OUT = [
    "../a.png",
    "x/../../a.png",
    "/etc/a.png",
    "C:/a.png",
    "c:a.png",
    "\\a.png",
    "x\\..\\a.png",
    "..",
]


@pytest.mark.parametrize("name", LEADING_OUT)
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_names_that_lead_out_are_refused(tmp_path, name, form):
    make = hostile.make_zip if form == "zip" else hostile.make_tar
    path = make(tmp_path / "a", [("good.png", b"1"), (name, b"2")])
    with pytest.raises(ValueError, match=r"leads out of the folder"):
        list(archive_entries(path))


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_names_that_come_twice_are_refused(tmp_path, form):
    make = hostile.make_zip if form == "zip" else hostile.make_tar
    path = make(tmp_path / "a", [("x/a.png", b"1"), ("./x//a.png", b"2")])
    with pytest.raises(ValueError, match=r"holds `x/a.png` twice; which of them counts is unclear"):
        list(archive_entries(path))
    path = make(tmp_path / "b", [("x/a.png", b"1"), ("x", b"2")])
    with pytest.raises(ValueError, match=r"holds `x` as a file and as a folder"):
        list(archive_entries(path))
    path = make(tmp_path / "c", [("x/a.png", b"1"), ("x/A.png", b"2")])
    assert contents(archive_entries(path)) == {"x/a.png": b"1", "x/A.png": b"2"}


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_hidden_files_are_left_out(tmp_path, form):
    make = hostile.make_zip if form == "zip" else hostile.make_tar
    hidden = [
        ("x/a.png", b"1"),
        ("__MACOSX/x/._a.png", b"2"),
        ("x/._a.png", b"3"),
        (".ipynb_checkpoints/a.png", b"4"),
    ]
    path = make(tmp_path / "a", hidden)
    assert contents(archive_entries(path)) == {"x/a.png": b"1"}


def test_zip_names_without_the_utf8_flag(tmp_path):
    path = hostile.make_zip(tmp_path / "a.zip", [("Grüße/ж.png", b"1")])
    assert [entry.name for entry in archive_entries(path)] == ["Grüße/ж.png"]
    data, name = path.read_bytes(), "Grüße/ж.png".encode()
    plain = data.replace(b"\x14\0\0\x08", b"\x14\0\0\0")  # flags follow the version needed, 2.0
    assert plain != data
    path.write_bytes(plain)  # the Mac's archiver: UTF-8 that is not announced
    assert [entry.name for entry in archive_entries(path)] == ["Grüße/ж.png"]
    path.write_bytes(plain.replace(name, b"caf\x82/" + b"x" * (len(name) - 9) + b".png"))
    assert [entry.name for entry in archive_entries(path)] == ["café/" + "x" * (len(name) - 9) + ".png"]
    assert [len(entry.read()) for entry in archive_entries(path)] == [1]


def test_backslashes_of_old_windows_tools_are_separators(tmp_path):
    path = hostile.make_zip(tmp_path / "a.zip", [("x\\y\\a.png", b"1")])
    assert contents(archive_entries(path)) == {"x/y/a.png": b"1"}


def test_encrypted_member_is_named(tmp_path):
    path = hostile.zip_encrypted(tmp_path / "a.zip")
    with pytest.raises(
        ValueError, match=r"`secret.png` in `.*a.zip` is encrypted; unpack it with its password"
    ):
        list(archive_entries(path))


def test_link_in_a_zip_is_refused(tmp_path):
    path = hostile.make_zip(tmp_path / "a.zip", [hostile.zip_link("a.png", "/etc/passwd")])
    with pytest.raises(ValueError, match=r"`a.png` in `.*a.zip` is a link"):
        list(archive_entries(path))


def test_bomb_in_a_zip_is_refused_before_it_is_read(tmp_path):
    size = archives._ZIP_ALLOWANCE + 1
    path = hostile.make_zip(tmp_path / "a.zip", [("fine.png", bytes(1000)), ("bomb.png", bytes(size))])
    with pytest.raises(ValueError, match=rf"`bomb.png` in `.*` unpacks to more than 200 times .*\({size} or"):
        list(archive_entries(path))


def test_zeros_below_the_allowance_are_no_bomb(tmp_path):
    path = hostile.make_zip(tmp_path / "a.zip", [("black.bmp", bytes(1 << 20))])
    assert len(next(archive_entries(path)).read()) == 1 << 20


def test_bomb_in_a_tar_is_stopped_while_it_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_TAR_ALLOWANCE", 1 << 22)  # 4 MiB in place of 1 GiB: the test is quicker
    path = hostile.gzip_bomb(tmp_path / "a.tgz", 1 << 26)
    with pytest.raises(
        ValueError, match=r"a.tgz` unpacks to more than 200 times its \d+ bytes \((\d+) or"
    ) as e:
        list(archive_entries(path))
    assert int(str(e.value).split("(")[1].split()[0]) < 1 << 24


def test_full_disk_for_the_decompressed_tar_is_explained(tmp_path, monkeypatch):
    path = hostile.make_tar(tmp_path / "a.tgz", [("a.png", os.urandom(1 << 20))], "w:gz")
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Path("/dev/full").open("wb"))  # noqa: SIM115 - closed by whom it is given to
    with pytest.raises(OSError, match=r"a.tgz` cannot be unpacked into .*No space left.*TMPDIR"):
        list(archive_entries(path))


@pytest.mark.parametrize("size", [-1, -512, -1024, 1 << 62])
def test_impossible_sizes_in_a_tar_are_refused(tmp_path, size):
    path = hostile.tar_with_size(tmp_path / "a.tar", size)
    with pytest.raises(ValueError, match=r"a.tar` cannot be read as a tar archive"):
        list(archive_entries(path))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"])
def test_devices_and_pipes_are_refused(tmp_path, kind):
    path = hostile.make_tar(tmp_path / "a.tar", [("a.png", b"1"), hostile.tar_link("b.png", "", kind)])
    with pytest.raises(ValueError, match=r"`b.png` in `.*a.tar` is a device, a pipe or of an unknown kind"):
        list(archive_entries(path))


def test_sparse_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`holes.png` in `.*a.tar` is a sparse file"):
        list(archive_entries(hostile.tar_sparse(tmp_path / "a.tar")))


@pytest.mark.parametrize("target", ["images/a.png", "nowhere.png", "/etc/passwd", "../../x"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_link_in_a_tar_is_refused(tmp_path, target, kind):
    path = hostile.make_tar(
        tmp_path / "a.tar", [*hostile.GOOD.items(), hostile.tar_link("l.png", target, kind)]
    )
    with pytest.raises(ValueError, match=r"`l.png` in `.*a.tar` is a link; pack the file itself"):
        list(archive_entries(path))


BYTES = b"caf\xe9"  # Latin-1


def test_names_that_are_not_utf8_print_and_go_into_json(tmp_path):
    folder = tmp_path / "folder"
    try:
        (folder / os.fsdecode(BYTES)).mkdir(parents=True)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (folder / os.fsdecode(BYTES) / "a.png").write_bytes(b"1")
    tarred = hostile.make_tar(tmp_path / "a.tar", [(os.fsdecode(BYTES) + "/a.png", b"1")])
    for entries in (ImageTree.grow(folder).entries(), archive_entries(tarred)):
        (entry,) = entries
        assert entry.read() == b"1"
        assert entry.name == r"caf\xe9/a.png"
        assert json.dumps({"name": entry.name}, ensure_ascii=False).encode()
        assert str(entry).encode().endswith(rb"caf\xe9/a.png")
    assert ImageTree.grow(folder).fingerprint()


def test_fingerprint_follows_contents_not_place(three_forms, tmp_path):
    folder, _, _ = three_forms
    (folder / "list.txt").touch()
    before = ImageTree.grow(folder).fingerprint(["list.txt"])
    moved = folder.rename(tmp_path / "elsewhere")
    assert ImageTree.grow(moved).fingerprint(["list.txt"]) == before
    assert ImageTree.grow(moved).fingerprint() != before
    (moved / "images" / "000.png").write_bytes(b"longer than before")
    assert ImageTree.grow(moved).fingerprint(["list.txt"]) != before


def test_root_must_be_a_folder_with_something_in_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`data.init_args.root=.*nowhere` does not exist"):
        require_folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"`data.init_args.root=.*` is an empty folder"):
        require_folder(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"`data.init_args.root=.*file` is a file"):
        require_folder(tmp_path / "file")
