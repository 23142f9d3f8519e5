import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from psst.images.archives import fingerprint, folder_entries, require_folder, tar_entries, zip_entries

FILES = {f"images/{i:03}.png": bytes([i]) * (i * 37 + 1) for i in range(40)}


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


def test_all_forms_give_the_same_files_from_many_threads(three_forms):
    folder, zipped, tarred = three_forms
    for entries in (folder_entries(folder, (".png",)), zip_entries(zipped), tar_entries(tarred)):
        entries = list(entries)
        with ThreadPoolExecutor(8) as pool:
            found = dict(zip((e.name for e in entries), pool.map(lambda e: e.read(), entries), strict=True))
        assert found == FILES


def test_entries_say_where_they_lie(three_forms):
    folder, zipped, _ = three_forms
    assert str(next(folder_entries(folder, (".png",)))) == f"{folder}/images/000.png"
    assert str(next(zip_entries(zipped))) == f"{zipped}: images/000.png"


def test_unreadable_zip_is_named(three_forms):
    _, zipped, _ = three_forms
    zipped.write_bytes(zipped.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"a.zip` cannot be read as a zip archive"):
        list(zip_entries(zipped))


def test_damaged_member_of_a_zip_is_named(three_forms):
    _, zipped, _ = three_forms
    data = bytearray(zipped.read_bytes())
    start = data.index(b"images/001.png") + len(b"images/001.png")
    data[start : start + 4] = b"\xff\xff\xff\xff"
    zipped.write_bytes(bytes(data))
    entry = next(e for e in zip_entries(zipped) if e.name == "images/001.png")
    with pytest.raises(ValueError, match=r"`images/001.png` in `.*a.zip` cannot be read"):
        entry.read()


@pytest.mark.parametrize("keep", [700, 1024 * 30 + 100])
def test_truncated_tar_is_named(three_forms, keep):
    _, _, tarred = three_forms
    tarred.write_bytes(tarred.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a.tar` cannot be read as an uncompressed tar"):
        list(tar_entries(tarred))


def test_compressed_tar_is_refused_with_advice(three_forms, tmp_path):
    folder, _, _ = three_forms
    with tarfile.open(tmp_path / "b.tar", "w:gz") as archive:
        archive.add(folder, "images")
    with pytest.raises(ValueError, match=r"b.tar` cannot be read as an uncompressed tar .*decompress it"):
        list(tar_entries(tmp_path / "b.tar"))


def test_fingerprint_follows_contents_not_place(three_forms, tmp_path):
    folder, _, _ = three_forms
    before = fingerprint(folder, (".png",))
    moved = folder.rename(tmp_path / "elsewhere")
    assert fingerprint(moved, (".png",)) == before
    (moved / "images" / "000.png").write_bytes(b"longer than before")
    assert fingerprint(moved, (".png",)) != before


def test_root_must_be_a_folder_with_something_in_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`data.init_args.root=.*nowhere` does not exist"):
        require_folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"`data.init_args.root=.*` is an empty folder"):
        require_folder(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"`data.init_args.root=.*file` is a file"):
        require_folder(tmp_path / "file")
