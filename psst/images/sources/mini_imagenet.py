"""The layouts in which mini-ImageNet is found."""

from functools import partial
from pathlib import Path

from psst.images.source import Source
from psst.images.sources.category_pickles import CategoryPickles, category_files
from psst.images.sources.class_folders import sees_classes, sees_splits
from psst.images.sources.folder import FolderSource, sees_lists
from psst.images.sources.layout import Layout, published_rows
from psst.images.sources.mini_pickles import CACHE_FILES, CachePickles, cache_files

_NAME = "mini_imagenet"
_CATEGORY_WORD = "category_split"
_CATEGORY_FILES = "miniImageNet_category_split_{train_phase_train,val,test}.pickle"


def mini_imagenet_splits() -> dict[str, str]:
    """Return the split of each of the 100 classes, by WordNet id."""
    return {name: split for name, split in published_rows("mini_imagenet.txt")}  # noqa: C416 - rows are of any length to mypy


def _caches(folder: Path) -> str | None:
    return cache_files(folder).describe()


def _categories(folder: Path) -> str | None:
    return category_files(folder, _CATEGORY_WORD).describe()


def _category_source(root: Path) -> Source:
    return CategoryPickles(root, _NAME, category_files(root, _CATEGORY_WORD), _CATEGORY_FILES)


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "train.csv, val.csv, test.csv (filename,label) and their images, in images/ or in tar files",
        sees_lists,
        lambda root: FolderSource(root, _NAME, splits=root),
    ),
    Layout(CACHE_FILES, _caches, lambda root: CachePickles(root, _NAME, mini_imagenet_splits())),
    Layout(_CATEGORY_FILES, _categories, _category_source),
    Layout(
        "train/, val/ and test/ with a folder a class, as published",
        lambda folder: sees_splits(folder, mini_imagenet_splits()),
        partial(FolderSource, name=_NAME),
    ),
    Layout(
        "folders named by WordNet ids with their images (the published classes are taken from them)",
        lambda folder: sees_classes(folder, mini_imagenet_splits()),
        lambda root: FolderSource(root, _NAME, splits=mini_imagenet_splits()),
    ),
)
"""csv lists, pickles of Ren et al. and of Gidaris and Komodakis, folders with splits, folders without."""
