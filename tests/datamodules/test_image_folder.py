"""Your own images, from folders to episodes."""

import numpy as np
import pytest
from PIL import Image

from psst.commands.data import prepare
from psst.datamodules.image_folder import ImageFolder
from psst.episodes import Episodes, Evaluation


@pytest.fixture
def root(tmp_path):
    """Twelve classes of six pictures, of several kinds and sizes."""
    rng = np.random.default_rng(0)
    for c in range(12):
        folder = tmp_path / "pictures" / f"class{c}"
        folder.mkdir(parents=True)
        for i, (mode, suffix) in enumerate(
            [("RGB", "jpg"), ("L", "png"), ("RGBA", "png"), ("CMYK", "jpg"), ("P", "gif"), ("1", "tif")]
        ):
            pixels = rng.integers(0, 256, (20 + i, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / f"{i}.{suffix}")
    return tmp_path / "pictures"


def datamodule(root, **options):
    settings = {"episodes": Episodes(way=2, query=2), "evaluation": Evaluation(way=2, query=2), "size": 16}
    return ImageFolder(root=str(root), cache_dir=str(root.parent / "cache"), **{**settings, **options})


def test_episodes_of_pictures_of_all_kinds(root):
    data = datamodule(root)
    data.prepare_data()
    data.setup("fit")
    episode = next(iter(data.train_dataloader()))
    assert episode.images().shape == (2 * (1 + 2), 3, 16, 16)
    assert {split: len(ids) for split, ids in data.store.splits.items()} == {"train": 8, "val": 2, "test": 2}


def test_grayscale(root):
    data = datamodule(root, channels=1)
    assert data.image_shape == prepare(data).image_shape == (1, 16, 16)
    assert datamodule(root).image_shape == (3, 16, 16)


def test_seed_of_the_split_is_apart_from_the_seed_of_episodes(root):
    stores = [prepare(datamodule(root, **options)) for options in ({}, {"seed": 1}, {"split_seed": 1})]
    assert stores[0].folder == stores[1].folder != stores[2].folder
    assert sorted(stores[0].class_names) == sorted(stores[2].class_names)


def test_lists_of_the_user(root, tmp_path):
    lists = tmp_path / "lists.csv"
    splits = ["train"] * 4 + ["val"] * 4 + ["test"] * 4
    lists.write_text("class,split\n" + "".join(f"class{i},{split}\n" for i, split in enumerate(splits)))
    store = prepare(datamodule(root, splits=str(lists)))
    assert [store.class_names[i] for i in store.splits["val"]] == ["class4", "class5", "class6", "class7"]


def test_channels_are_one_or_three(root):
    with pytest.raises(
        ValueError, match=r"`data.init_args.channels=4` must be 1 \(grayscale\) or 3 \(color\)"
    ):
        datamodule(root, channels=4)


def test_a_class_with_too_few_images_is_named_before_any_is_decoded_and_may_be_left_out(root):
    for path in sorted((root / "class7").iterdir())[1:]:
        path.unlink()
    for path in root.rglob("0.jpg"):
        path.write_bytes(b"no picture")
    told = r"need 3 images a class; .*`class7` has 1; .*`data.init_args.min_images=3`"
    with pytest.raises(ValueError, match=told):
        datamodule(root).prepare_data()
    with pytest.raises(ValueError, match="12 of 67 images are damaged"):  # a store serves any episodes
        prepare(datamodule(root))
    with pytest.warns(match=r"class7 \(1\)"), pytest.raises(ValueError, match="11 of 66 images are damaged"):
        datamodule(root, min_images=3).prepare_data()
