"""What `psst data prepare`, `info` and `verify` do."""

from pathlib import Path

import numpy as np

from psst.datamodules.episodic import EpisodicDataModule
from psst.images import SPLITS, ImageStore
from psst.images.store import META


def prepare(datamodule: EpisodicDataModule) -> ImageStore:
    """Fetch what a datamodule is to fetch, and build its store, or open it if it is there.

    Raises as `EpisodicDataModule.prepare_data` and `build_store` do.
    """
    datamodule.prepare_data()
    return datamodule.open_store()


def info(store: ImageStore | str | Path) -> str:
    """Describe a store, given itself or its folder: one line a fact, then one a split and group.

    Raises:
        FileNotFoundError: there is no store in the folder.
        ValueError: the store is damaged or of a newer format.
    """
    if not isinstance(store, ImageStore):
        store = ImageStore.open(store)
    channels, height, width = store.image_shape
    lines = [
        f"source   {store.meta['source']}",
        f"folder   {store.folder}",
        f"images   {len(store):,} of {channels} x {height} x {width}, {store.images.nbytes / 2**20:.1f} MiB",
        f"mean     {_numbers(store.mean)} (train, scale 0 to 1)",
        f"std      {_numbers(store.std)}",
    ]
    sizes = np.bincount(store.labels, minlength=len(store.class_names))
    for split in SPLITS:
        lines.append(f"{split:<8} {_classes(sizes[store.splits[split]])}")
        for group, ids in store.groups.get(split, {}).items():
            lines.append(f"         {group}: {_classes(sizes[ids])}")
    if len(store.unlabeled):
        lines.append(f"{'unlabeled':<8} {len(store.unlabeled):,} images, for the auxiliary tasks")
    if store.duplicates:
        count = len(store.duplicates)
        lines.append(f"twice    {count:,} images with two classes or in two splits, see {META}")
    return "\n".join(lines)


def verify(folder: str | Path) -> ImageStore:
    """Compare a store with its checksums and return it.

    Raises:
        FileNotFoundError: there is no store in ``folder``.
        ValueError: an array was damaged after it was built.
    """
    store = ImageStore.open(folder)
    store.verify()
    return store


def _classes(sizes: np.ndarray) -> str:
    if len(sizes) == 0:
        return "no classes"
    per_class = str(sizes.min()) if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
    return f"{len(sizes)} classes, {int(sizes.sum()):,} images, {per_class} a class"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
