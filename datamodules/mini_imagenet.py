"""mini-ImageNet (Vinyals et al. 2016, in the class split of Ravi and Larochelle 2017)."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from psst.datamodules.episodic import InLayouts
from psst.images.files.download import RemoteFile
from psst.images.files.unpickle import load
from psst.images.source import SPLITS
from psst.images.sources.array_images import Pixels, label_array, require_keys
from psst.images.sources.folder import FolderSource
from psst.images.sources.layout import (
    Layout,
    category_layout,
    published_layout,
    published_rows,
    split_file_layout,
)

_NAME = "mini_imagenet"
_CACHES = "mini-imagenet-cache-train.pkl, -val.pkl (or -validation.pkl) and -test.pkl, unpacked"
_ZENODO = "https://zenodo.org/records/7978538/files/"


def _read_cache(path: Path, split: str) -> tuple[Pixels, list[str]]:
    """Read a dict of Ren et al. (2018); learn2learn's is stored as text and takes up to 2.5 GB of memory."""
    file = str(path)
    images, members = require_keys(load(path), ("image_data", "class_dict"), file)
    pixels = Pixels(file, images)
    classes = _classes(members, len(pixels), file)
    names, published = set(classes), MiniImageNet.published
    if others := sorted(name for name in names if published.get(name, split) != split):
        warnings.warn(
            f"{len(others)} of {len(names)} classes of `{file}` are not {split} classes in the published "
            f"split, first: {others[0]}, a {published[others[0]]} class; accuracies on it are not those of "
            "mini-ImageNet. Were the files renamed?",
            stacklevel=2,
        )
    return pixels, classes


def _classes(members: Any, count: int, file: str) -> list[str]:
    """Turn class -> places into the class of each place."""
    if not isinstance(members, dict):
        raise ValueError(f"`class_dict` of `{file}` is a {type(members).__name__}; expected a dict.")
    class_of = {place: str(name) for name in members for place in label_array(members[name], file).tolist()}
    named = sum(len(places) for places in members.values())
    known = class_of.keys() & set(range(count))
    if named != count or len(known) != count:
        raise ValueError(
            f"`class_dict` of `{file}` names {named:,} places, {len(known):,} of them different, for "
            f"{count:,} images; each belongs to one class: download it again."
        )
    return [class_of[place] for place in range(count)]


class MiniImageNet(InLayouts):
    """mini-ImageNet, 64/16/20 classes of 600 images, in any of the layouts it is passed round in.

    What `root` holds decides, in this order:

    * train.csv, val.csv and test.csv (columns ``filename``, ``label``), and the images they name in
      ``images/`` or in tar files; any data set in this layout will do;
    * the pickles ``mini-imagenet-cache-<split>.pkl`` of Ren et al. and of learn2learn;
    * the pickles ``miniImageNet_category_split_*.pickle`` of Gidaris and Komodakis, used by MetaOptNet: the
      training images are those of train_phase_train; train_phase_val and train_phase_test are left out;
    * folders named by WordNet ids at any depth, as in ImageNet or in ``train/``, ``val/`` and ``test/``: the
      100 published classes are taken with all their images.

    The images were shrunk to 84 x 84 in different ways, so that layouts agree in the classes and not in each
    pixel. ImageNet's terms limit its images to non-commercial research and education; none come with psst.

    Args:
        root: the folder; archives in it are read in place.
        size: side length in pixels; 84 is usual.
        **shared: see `EpisodicDataModule`; `download` gets learn2learn's pickles, 1.8 GB.

    Example:
        ``MiniImageNet("data/mini_imagenet", episodes=Episodes(way=5, shot=1), download=True)``
    """

    published: Mapping[str, str] = {name: split for name, split, *_ in published_rows("mini_imagenet.txt")}
    layouts = (
        Layout(
            "train.csv, val.csv, test.csv (filename,label) and their images, in images/ or in tar files",
            lambda folder: any((folder / f"{split}.csv").is_file() for split in SPLITS),
            lambda root: FolderSource(root, _NAME, splits=root),
        ),
        split_file_layout(_NAME, _CACHES, lambda path: "imagenet-cache" in path.name.lower(), _read_cache),
        category_layout(
            _NAME, "category_split", "miniImageNet_category_split_{train_phase_train,val,test}.pickle"
        ),
        published_layout(_NAME, published),
    )
    # Names, sizes and hashes as listed by the record; its pickles were made by Ren et al.
    remote: tuple[RemoteFile, ...] = tuple(
        RemoteFile(name, (_ZENODO + name,), md5, size)
        for name, md5, size in (
            ("mini-imagenet-cache-train.pkl", "md5:ee4e80dc7b716f3ceec891d199b5277a", 1145461190),
            ("mini-imagenet-cache-validation.pkl", "md5:c1145a80890b88d54a67d6e0022d53a5", 292661258),
            ("mini-imagenet-cache-test.pkl", "md5:389b6c59d348b2e1ae9610f00a5e6724", 353647539),
        )
    )
    manual: str = (
        "Get mini-imagenet-cache-train.pkl, -validation.pkl and -test.pkl in a browser from "
        "https://zenodo.org/records/7978538."
    )
