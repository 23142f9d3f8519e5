"""tieredImageNet (Ren et al., ICLR 2018): classes whose splits differ in what they are."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from psst.datamodules.episodic import InLayouts
from psst.images.files.archives import open_npz
from psst.images.files.unpickle import load
from psst.images.sources.array_images import Pixels, label_array, require_keys
from psst.images.sources.layout import published_layout, published_rows, split_file_layout

_NAME = "tiered_imagenet"
_PNGS, _ARRAYS = "_images_png.pkl", "_images.npz"
_V1 = f"<split>{_PNGS} with <split>_labels.pkl that has label_specific"
_V2 = f"<split>{_ARRAYS} with <split>_labels.pkl that has labels"
_ONE_PLACE = f"The two are numbered differently: keep the files of one distribution, either {_V1}, or {_V2}."


def _labels_of(images: Path) -> Path:
    return images.with_name(images.name.removesuffix(_PNGS).removesuffix(_ARRAYS) + "_labels.pkl")


def _is_pair(path: Path, ending: str) -> bool:
    return path.name.endswith(ending) and _labels_of(path).is_file()


def _read_pngs(path: Path, split: str) -> tuple[Pixels, list[str]]:
    """Read a list of encoded PNG files, red, green, blue, and labels with class names, of Ren et al."""
    labels, words = _labels(path, ("label_specific", "label_specific_str"), "labels")
    pngs, file = load(path), str(_labels_of(path))
    if not isinstance(pngs, list) or not all(map(_is_encoded, pngs[:10])):
        raise ValueError(f"`{path}` does not hold a list of encoded images; download it again.")
    numbers = label_array(labels, file)
    highest = int(numbers.max(initial=-1))
    if not isinstance(words, list | tuple) or highest >= len(words) or numbers.min(initial=0) < 0:
        raise ValueError(
            f"`label_specific` of `{file}` goes up to {highest} and `label_specific_str` does not name that "
            "many classes; download it again."
        )
    texts = [str(word) for word in words]
    repeated = {text for text in texts if texts.count(text) > 1}
    # "crane" is two of the classes, so that names begin with their split
    names = [f"{split}/{text}" + (f" ({i})" if text in repeated else "") for i, text in enumerate(texts)]
    return Pixels(str(path), pngs, encoded=True), [names[number] for number in numbers.tolist()]


def _read_arrays(path: Path, split: str) -> tuple[Pixels, list[str]]:
    """Read an array in OpenCV's order blue, green, red, and numbers as labels, of MetaOptNet."""
    (numbers,) = _labels(path, ("labels",), "label_specific")
    classes = [f"{split}/{number}" for number in label_array(numbers, str(_labels_of(path))).tolist()]
    return Pixels(str(path), open_npz(path, "images"), bgr=True), classes


def _labels(images: Path, keys: Sequence[str], other: str) -> list[Any]:
    """Return what is under ``keys`` of a label file; ``other`` is a key of the other distribution's."""
    path = _labels_of(images)
    content = load(path)
    if isinstance(content, dict) and keys[0] not in content and other in content:
        raise ValueError(
            f"`{path}` has {other} in place of {keys[0]}: it is of another distribution than `{images}`. "
            f"{_ONE_PLACE}"
        )
    return require_keys(content, keys, str(path))


def _is_encoded(image: object) -> bool:
    is_array = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size == max(image.shape)
    return is_array or isinstance(image, bytes | memoryview)


class TieredImageNet(InLayouts):
    """tieredImageNet, 351/97/160 classes of 20/6/8 superclasses, 779,165 images.

    What `root` holds decides, in this order:

    * ``<split>_images_png.pkl`` and ``<split>_labels.pkl`` of Ren et al., from tiered-imagenet.tar, unpacked
      (12.9 GB); names may begin with ``tiered-imagenet-``;
    * ``<split>_images.npz`` and ``<split>_labels.pkl`` of MetaOptNet, in which colors are blue, green, red;
    * folders named by WordNet ids at any depth, as in ImageNet or in ``train/``, ``val/`` and ``test/``: the
      608 published classes are taken.

    Files of the first two are not to be mixed. There is no automatic download: hashes of these files are
    not known to us. Links are in the repositories renmengye/few-shot-ssl-public and kjunelee/MetaOptNet, and
    the files of the first are in the record 7978538 of zenodo.org. ImageNet's terms limit its images to
    non-commercial research and education; none come with psst.

    Args:
        root: the folder.
        size: side length in pixels; 84 is usual, and makes a store of 16.5 GB.
        **shared: see `EpisodicDataModule`.

    Example:
        ``TieredImageNet("data/tiered_imagenet", episodes=Episodes(way=5, shot=1))``
    """

    published: Mapping[str, str] = {
        name: split for _, split, *names in published_rows("tiered_imagenet.txt") for name in names
    }
    layouts = (
        split_file_layout(_NAME, _V1, partial(_is_pair, ending=_PNGS), _read_pngs, _labels_of),
        split_file_layout(_NAME, _V2, partial(_is_pair, ending=_ARRAYS), _read_arrays, _labels_of),
        published_layout(_NAME, published),
    )
    manual: str = (
        "Get tiered-imagenet.tar from a link in the repository renmengye/few-shot-ssl-public and unpack it; "
        "or <split>_images.npz and <split>_labels.pkl from one in kjunelee/MetaOptNet; or the files that "
        "begin with tiered-imagenet- from https://zenodo.org/records/7978538."
    )
