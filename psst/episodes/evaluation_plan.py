"""Evaluation episodes of a run: drawn, or of a list in a file, so that others score exactly the same ones."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.episodes.counters import Ids
from psst.episodes.sampler import EpisodeIndices, EpisodeSampler
from psst.episodes.settings import Evaluation
from psst.files import read_npz, write_npz
from psst.images.store import ImageStore
from psst.randomness import stream_key

_FORMAT = 1
_PARTS = ("class_ids", "support", "query")
_PROBES = 256  # images whose brightness tells whether the data are the same
_TOLERANCE = 8.0  # gray levels between two decodings, or two sizes, of one image


class EvaluationEpisodes:
    """Validation and test episodes over the store of the data set ``name``."""

    def __init__(self, settings: Evaluation, seed: int, store: ImageStore, name: str) -> None:
        self.store = store
        self.plans: dict[str, Mapping[str, EpisodeSampler]] = {}  # split -> group of classes, or "all"
        self.counts: dict[str, int] = {}  # split -> episodes of each group: no more than a list has
        listed = _load(settings.file, store) if settings.file else {}
        for split, asked in (("val", settings.val_episodes), ("test", settings.test_episodes)):
            key, lists = partial(stream_key, seed, split, "evaluation"), listed.get(split, {})
            self.plans[split] = lists or EpisodeSampler.of_split(store, name, split, settings, key, seed)
            self.counts[split] = min([asked, *map(len, lists.values())])

    def save(self, path: str | Path) -> None:
        """Write them to one npz file, all or nothing: ids, and what tells other data, but no pixels."""
        arrays: dict[str, Any] = {"class_names": np.array(self.store.class_names, dtype=np.str_)}
        names = [(split, group) for split, plan in self.plans.items() for group in plan]
        images: list[Ids] = []
        for i, (split, group) in enumerate(names):
            sampler = self.plans[split][group]
            drawn = sampler.draw(0, self.counts[split])
            arrays |= {f"{name}_{i}": getattr(drawn, name).astype(np.int32) for name in _PARTS}
            arrays |= {f"stream_{i}": np.str_(sampler.stream), f"seed_{i}": sampler.seed}
            images.append(drawn.ids.ravel())
        listed = np.unique(np.concatenate(images))
        probes = listed[np.linspace(0, len(listed) - 1, min(_PROBES, len(listed))).astype(np.int64)]
        arrays |= {"names": np.array(names, dtype=np.str_), "labels": _labels_digest(self.store)}
        arrays |= {"probes": probes, "brightness": _brightness(self.store, probes)}
        write_npz(path, arrays, _FORMAT)


class FrozenEpisodes(EpisodeSampler):
    """Episodes of a list: `draw` looks them up. It goes wherever a sampler goes.

    ``stream`` is the fingerprint of the sampler they were drawn by, so that scores of both can be paired.
    """

    def __init__(self, episodes: EpisodeIndices, stream: str, seed: int) -> None:
        (_, way, shot), query = episodes.support.shape, episodes.query.shape[2]
        images = np.concatenate([episodes.support, episodes.query], axis=2)
        ids = {i: np.unique(images[episodes.class_ids == i]) for i in np.unique(episodes.class_ids).tolist()}
        super().__init__(ids, Evaluation(way, shot, query), key=0, seed=seed)
        self.episodes, self.stream = episodes, stream

    def __len__(self) -> int:
        return len(self.episodes.class_ids)

    def draw(self, start: int, count: int) -> EpisodeIndices:
        """Return episodes ``start`` to ``start + count - 1``; ValueError if they are not all in the list."""
        if start < 0 or count < 0 or start + count > len(self):
            raise ValueError(
                f"episodes {start} to {start + count - 1} were asked for, the list has {len(self)}; "
                "ask for fewer."
            )
        return self.episodes.rows(start, count)


def _load(path: str | Path, store: ImageStore) -> dict[str, dict[str, FrozenEpisodes]]:
    """Return the episodes of a file: split -> group of classes -> its list."""
    what = f"`data.init_args.evaluation.file={path}`"
    found = read_npz(path, _FORMAT, what, "give a list that a datamodule's `save_episodes` has written")
    if other := next(_differences(found, store), None):
        raise ValueError(
            f"{what} lists episodes of other data than {store.folder}: {other}; use the data set, in the "
            "layout, that the list was made from, or leave `evaluation.file` out."
        )
    plans: dict[str, dict[str, FrozenEpisodes]] = {}
    for i, (split, group) in enumerate(found["names"].tolist()):
        episodes = EpisodeIndices(*(found[f"{name}_{i}"].astype(np.int64) for name in _PARTS))
        if store.n_image_groups and (shared := _shared_groups(episodes, store)):
            raise ValueError(
                f"support and queries share a group of images in {shared} of {len(episodes.query)} episodes "
                f"of split '{split}' in {what}; write the list anew, or leave `data.init_args.groups` out."
            )
        stream, seed = str(found[f"stream_{i}"]), int(found[f"seed_{i}"])
        plans.setdefault(split, {})[group] = FrozenEpisodes(episodes, stream, seed)
    return plans


def _differences(found: Mapping[str, Any], store: ImageStore) -> Iterator[str]:
    """Say why the image ids of a list do not stand for the same images in ``store``."""
    listed, names = found["class_names"].tolist(), store.class_names
    if listed != names:
        yield f"its classes are others ({', '.join(sorted({*listed} ^ {*names})[:3])}), or in another order"
    if str(found["labels"]) != _labels_digest(store):
        yield "the classes have other numbers of images, or the images are in another order"
    differences = np.abs(_brightness(store, found["probes"]) - found["brightness"])
    if (share := float((differences > _TOLERANCE).mean())) > 0.02:
        yield f"the images themselves are others ({100 * share:.0f}% of those looked at)"
    for i, (split, _) in enumerate(found["names"].tolist()):
        if not np.isin(found[f"class_ids_{i}"], store.splits[split]).all():
            yield f"classes of its split '{split}' are in another split, such as the one trained on"


def _shared_groups(episodes: EpisodeIndices, store: ImageStore) -> int:
    """Count the episodes with a group of images on both sides."""
    sides = [store.image_groups[ids.reshape(len(ids), -1)] for ids in (episodes.support, episodes.query)]
    both = (sides[0][:, :, None] == sides[1][:, None, :]) & (sides[0][:, :, None] >= 0)
    return int(both.any(axis=(1, 2)).sum())


def _labels_digest(store: ImageStore) -> str:
    """Fingerprint which image is of which class, up to the last that has one."""
    labels = np.asarray(store.labels, dtype="<i8")
    labeled = labels[: int(np.flatnonzero(labels >= 0).max(initial=-1)) + 1]
    return hashlib.blake2b(labeled.tobytes(), digest_size=16).hexdigest()


def _brightness(store: ImageStore, ids: Ids) -> npt.NDArray[np.float32]:
    """Return the mean of each image in gray levels: about the same at every size."""
    images = store.read(ids).reshape(len(ids), -1)
    return np.asarray(images.mean(axis=1, dtype=np.float64), dtype=np.float32)
