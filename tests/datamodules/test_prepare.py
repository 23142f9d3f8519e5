import pytest

from psst.commands.data import info, main, prepare
from psst.datamodules import Glyphs


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return prepare(Glyphs(drawings=1, size=8, cache_dir=str(tmp_path_factory.mktemp("cache"))))


def test_info_states_counts_of_every_split(store):
    text = info(store.folder)
    assert text == info(store)
    for split, ids in store.splits.items():
        n_images = sum(len(store.image_ids(int(class_id))) for class_id in ids)
        assert f"{split:<8} {len(ids)} classes, {n_images:,} images" in text
    assert f"{len(store):,} of 1 x 8 x 8" in text


def test_info_needs_a_store(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no finished store"):
        info(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no finished store"):
        main(["data", "verify", str(tmp_path)])


def test_verify_counts_the_images_or_names_the_damaged_file(store, capsys):
    words = ["data", "verify", str(store.folder)]
    assert main(words) == 0
    assert f"{len(store):,} images, as their checksums say" in capsys.readouterr().out
    labels = store.folder / "labels.npy"
    data = labels.read_bytes()
    try:
        labels.write_bytes(data[:-8] + b"\1" + data[-7:])
        with pytest.raises(ValueError, match=r"labels.npy` has sha256"):
            main(words)
    finally:
        labels.write_bytes(data)
