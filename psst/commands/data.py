"""``psst data prepare | features | info | verify``: what a path holds, stores of images, cached features."""

import sys
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from psst.commands.arguments import command, quiet

if TYPE_CHECKING:
    import numpy as np

    from psst.datamodules import EpisodicDataModule
    from psst.images import ImageStore
    from psst.training import FewShotModule

_TEXT = """\
--config takes a file or a shipped name, --data a data set; `psst fit --help` lists their keys.

examples:
  psst data prepare --config omniglot_minimal_conv4 --data.init_args.root data/omniglot
  psst data prepare --data psst.datamodules.MiniImageNet --data.init_args.root data/mini_imagenet
  psst data features --config pretrained_adapter --data.init_args.root photos [--verify]
  psst data info data/birds          which data set lies there, by looking into it
  psst data info data/birds --pattern '(.*)_'          and how many groups its images make
  psst data info .psst/STORE         what a store holds
  psst data verify .psst/STORE"""

# The more telling ones first: what one of them sees is also a folder of images.
_DATA_SETS = ("Omniglot", "CUB", "TieredImageNet", "CifarFS", "FC100", "MiniImageNet", "ImageFolder")
_LISTED = 8
_VERIFY = "--verify"


def main(words: list[str]) -> int:
    """Carry out one of the four."""
    if words[1:2] not in (["prepare"], ["features"]):
        return _look(words)
    from psst.datamodules import EpisodicDataModule
    from psst.search.settings import SearchSettings
    from psst.training.experiment import Experiment

    quiet()
    features = words[1] == "features"
    rest = [word for word in words[2:] if not features or word != _VERIFY]
    run = Experiment(rest, SearchSettings, needs_model=features)
    data = run.datamodule()
    if not isinstance(data, EpisodicDataModule):
        raise TypeError(f"`data.class_path` is {type(data).__name__}, which keeps no store of images.")
    told = _features(run.module(), data, _VERIFY in words) if features else info(prepare(data))
    sys.stdout.write(f"{told}\n")
    return 0


def prepare(datamodule: "EpisodicDataModule") -> "ImageStore":
    """Fetch what a datamodule is to fetch, and build its store, or open it, whatever its episodes take.

    Raises as `EpisodicDataModule.prepare_data` and `build_store` do.
    """
    datamodule.prepare_data(check=False)
    return datamodule.open_store()


def info(store: "ImageStore | str | Path") -> str:
    """Describe a store, or that in a folder: one line a fact, then one a split and group of classes."""
    import numpy as np

    from psst.images import SPLITS, ImageStore

    if not isinstance(store, ImageStore):
        store = ImageStore(store)
    channels, height, width = store.image_shape
    mean, std = (", ".join(f"{value:.4f}" for value in values) for values in (store.mean, store.std))
    lines = [
        f"source   {store.meta['source']}",
        f"folder   {store.folder}",
        f"images   {len(store):,} of {channels} x {height} x {width}, {store.images.nbytes / 2**20:.1f} MiB",
        f"mean     {mean} (train, scale 0 to 1)",
        f"std      {std}",
    ]
    sizes = np.bincount(store.labels[store.labels >= 0], minlength=len(store.class_names))
    for split in SPLITS:
        lines.append(f"{split:<8} {_classes(sizes[store.splits[split]])}")
        for group, ids in store.groups.get(split, {}).items():
            lines.append(f"         {group}: {_classes(sizes[ids])}")
    if len(store.unlabeled):
        lines.append(f"{'unlabeled':<8} {len(store.unlabeled):,} images, for the auxiliary tasks")
    if store.n_image_groups:
        pairs = zip(store.labels.tolist(), store.image_groups.tolist(), strict=True)
        lines.append(_groups([(label + 1 or None, group + 1 or None) for label, group in pairs]))
    if store.duplicates:
        count = len(store.duplicates)
        lines.append(
            f"twice    {count:,} images with two classes or in two splits, see {ImageStore.meta_file}"
        )
    return "\n".join(lines)


def _recognize(path: str | Path) -> str:
    """Say which data sets the content of ``path`` may be read as, one line each, the best first."""
    from psst.images.files.paths import kind_of

    place = Path(path).expanduser()
    if not place.exists():
        raise FileNotFoundError(f"`{path}` does not exist; give the folder of a data set or of a store.")
    if not place.is_dir():
        with place.open("rb") as file:
            kind = kind_of(file.read(512)) or f"a file of {place.stat().st_size:,} bytes"
        return f"{path} is {kind}; data sets are read from the folder that holds their files."
    seen = [f"{data_set:<15} {text}" for data_set, text in _matches(place)]
    if seen:
        return "\n".join([f"{path} can be read by psst.datamodules as", *(f"  {line}" for line in seen)])
    found = sorted(entry.name + "/" * entry.is_dir() for entry in place.iterdir())
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    what = f"it holds {', '.join(found[:_LISTED])}{more}" if found else "it is empty"
    return (
        f"{path} is in no layout that psst knows: {what}.\n"
        "Your own images: one folder a class, or train/, val/ and test/ with one folder a class in each."
    )


def _features(module: "FewShotModule", data: "EpisodicDataModule", verify: bool) -> str:
    """Build or find the cached features of a run, and describe them; `verify` tells their checksum."""
    from psst.features.build import verify_features

    if data.features is None:
        raise ValueError(
            "`data.init_args.features` is null: the run reads images; set it to `{crops: 3, turned: 1}`."
        )
    data.prepare_data()
    data.setup("fit")
    module.attach(data)
    cache = data.feature_cache
    assert cache.folder is not None  # it was built
    found = verify_features(cache.folder)
    n, views, width = found["shape"]
    turned = sum(view.turns != (0,) for view in cache.views)
    lines = [
        f"folder   {cache.folder}",
        f"images   {n:,}",
        f"views    {views}: 1 upright, {views - 1 - turned} random crops, {turned} quarter turns",
        f"size     {width} numbers a view, {found['bytes'] / 2**20:.1f} MiB",
        f"key      {found['frozen']}",
        f"built in {found['seconds']:.1f} s",
    ]
    lines += [f"sha256   {found['sha256']}, as meta.json says"] if verify else []
    return "\n".join(lines)


@command(_TEXT)
def _look(
    action: Literal["info", "verify", "prepare", "features"],
    path: Path,
    column: str | None = None,
    pattern: str | None = None,
    level: int | None = None,
    splits: str | None = None,
) -> str:
    """Look at a data set or a store, or compare a store with its checksums.

    Args:
        action: What to do; `prepare` decodes a data set once, `features` encodes it once.
        path: Of the data set or the store.
        column: Csv column that names the group of an image; needs `splits`.
        pattern: Regular expression on the path whose first group names it.
        level: Folder that names it, 1 for the one that the image lies in.
        splits: Lists of the images, as of ImageFolder.
    """
    from psst.images import ImageStore
    from psst.images.sources.folder import FolderSource
    from psst.images.sources.groups import ImageGroups

    if action == "verify":
        store = ImageStore(path)
        store.verify()
        return f"{store.folder}: {len(store):,} images, as their checksums say"
    if (path / ImageStore.meta_file).is_file():
        return info(path)
    text = _recognize(path)
    if (column, pattern, level) != (None, None, None):
        records = FolderSource(path, splits=splits, groups=ImageGroups(column, pattern, level)).scan()
        text += "\n" + _groups([(record.class_name or None, record.image_group) for record in records])
    return text


def _groups(images: Sequence[tuple[Hashable, Hashable]]) -> str:
    """Say how many groups images make, given the class and the group of each, None without."""
    named = [group for _, group in images if group is not None]
    # an image without a group stands for itself: its place is a group of its own
    parts = {(name, place if group is None else (group,)) for place, (name, group) in enumerate(images)}
    sizes = Counter(name for name, _ in parts if name is not None).values()
    text = f"groups   {len(set(named)):,} of {len(named):,} images, {min(sizes)} to {max(sizes)} a class"
    return text + f"; {len(images) - len(named):,} images stand for themselves" * (len(named) < len(images))


def _matches(place: Path) -> Iterator[tuple[str, str]]:
    from psst import datamodules

    for data_set in _DATA_SETS:
        for layout in getattr(datamodules, data_set).layouts:
            seen: bool | str | None = None
            with suppress(OSError):  # what may not be read is not seen
                seen = layout.sees(place)
            if seen:
                yield data_set, seen if isinstance(seen, str) else layout.expects
                break


def _classes(sizes: "np.ndarray") -> str:
    if len(sizes) == 0:
        return "no classes"
    per_class = str(sizes.min()) if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
    return f"{len(sizes)} classes, {int(sizes.sum()):,} images, {per_class} a class"
