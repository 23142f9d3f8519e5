"""The layouts in which mini-ImageNet is found."""

from functools import partial
from pathlib import Path

from psst.images.source import SPLITS, Source
from psst.images.sources.category_pickles import CategoryPickles, category_files
from psst.images.sources.csv_lists import LAYOUTS as CSV_LAYOUTS
from psst.images.sources.csv_lists import CsvSource
from psst.images.sources.folder import FolderSource
from psst.images.sources.folder_looks import class_folders, split_folders
from psst.images.sources.layout import Layout
from psst.images.sources.listed_images import ListedImages
from psst.images.sources.mini_pickles import CACHE_FILES, CachePickles, cache_files
from psst.images.sources.published import published_rows

_NAME = "mini_imagenet"
_CATEGORY_WORD = "category_split"
_CATEGORY_FILES = "miniImageNet_category_split_{train_phase_train,val,test}.pickle"


def mini_imagenet_splits() -> dict[str, str]:
    """Return the split of each of the 100 classes, by WordNet id."""
    return {name: split for name, split in published_rows("mini_imagenet.txt")}  # noqa: C416 - rows are of any length to mypy


def _csv_files(folder: Path) -> str | None:
    """Describe the lists; also those that cannot be read, so that `CsvSource` says why."""
    found = [f"{split}.csv" for split in SPLITS if (folder / f"{split}.csv").is_file()]
    return CSV_LAYOUTS[0].sees(folder) or ", ".join(found) or None


def _caches(folder: Path) -> str | None:
    return cache_files(folder).describe()


def _categories(folder: Path) -> str | None:
    return category_files(folder, _CATEGORY_WORD).describe()


def _category_source(root: Path) -> Source:
    return CategoryPickles(root, _NAME, category_files(root, _CATEGORY_WORD), _CATEGORY_FILES)


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "train.csv, val.csv, test.csv (filename,label) and their images, in images/ or in tar files",
        _csv_files,
        partial(CsvSource, name=_NAME),
    ),
    Layout(CACHE_FILES, _caches, lambda root: CachePickles(root, _NAME, mini_imagenet_splits())),
    Layout(_CATEGORY_FILES, _categories, _category_source),
    Layout(
        "train/, val/ and test/ with a folder a class, as published",
        lambda folder: split_folders(folder, mini_imagenet_splits()),
        partial(FolderSource, name=_NAME),
    ),
    Layout(
        "folders named by WordNet ids with their images (the published classes are taken from them)",
        lambda folder: class_folders(folder, mini_imagenet_splits()),
        lambda root: ListedImages(root, _NAME, mini_imagenet_splits()),
    ),
)
"""csv lists, pickles of Ren et al. and of Gidaris and Komodakis, folders with splits, folders without."""
