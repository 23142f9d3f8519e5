"""Evaluation episodes of a run: drawn, or of a list in a file, so that others score exactly the same ones."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.episodes.checks import check_split
from psst.episodes.counters import Ids
from psst.episodes.sampler import EpisodeIndices, EpisodeSampler
from psst.episodes.settings import Evaluation
from psst.files import read_npz, write_npz
from psst.images.store import ImageStore
from psst.randomness import stream_key

_SPLITS = ("val", "test")
_FORMAT = 1
_PROBES = 256  # images whose brightness tells whether the data are the same
_TOLERANCE = 8.0  # gray levels between two decodings, or two sizes, of one image
_Plans = Mapping[str, Mapping[str, EpisodeSampler]]


class EvaluationEpisodes:
    """What validation and test episodes over the store of a data set look like.

    Raises:
        FileNotFoundError: the file of the settings is not there.
        ValueError: too few classes, or too few images in a class; the file is no list of episodes, or one of
            other data.
    """

    def __init__(self, settings: Evaluation, seed: int, store: ImageStore, name: str) -> None:
        self.settings, self.seed, self.store = settings, seed, store
        for split in _SPLITS:
            check_split(store, name, split, "evaluation", settings)
        self._listed = load_episodes(settings.file, store) if settings.file else {}

    def samplers(self, split: str) -> dict[str, EpisodeSampler]:
        """Return what gives the episodes of each group of ``split``; one called "all" if there are none."""
        if split in self._listed:
            return dict(self._listed[split])
        return {
            group: EpisodeSampler.of(
                self.store,
                classes,
                min(self.settings.way, len(classes)),
                self.settings.shot,
                self.settings.query,
                stream_key(self.seed, split, "evaluation", group),
                self.seed,
            )
            for group, classes in self.store.class_groups(split).items()
        }

    def count(self, split: str) -> int:
        """Return how many episodes of each group to evaluate: no more than a list has."""
        asked = {"val": self.settings.val_episodes, "test": self.settings.test_episodes}
        return min([asked[split], *map(len, self._listed.get(split, {}).values())])

    def save(self, path: str | Path) -> None:
        """Write them all to a list; raises as `save_episodes` does."""
        plans = {split: self.samplers(split) for split in _SPLITS}
        save_episodes(path, plans, {split: self.count(split) for split in _SPLITS}, self.store)


class FrozenEpisodes(EpisodeSampler):
    """Episodes of a list: `draw` looks them up. It goes wherever a sampler goes.

    ``stream`` is the fingerprint of the sampler they were drawn by, so that scores of both can be paired.
    """

    def __init__(self, episodes: EpisodeIndices, stream: str, seed: int, path: str | Path = "") -> None:
        class_ids = np.unique(episodes.class_ids)
        images = np.concatenate([episodes.support, episodes.query], axis=2)
        by_class = [np.unique(images[episodes.class_ids == class_id]) for class_id in class_ids]
        way, shot, query = images.shape[1], episodes.support.shape[2], episodes.query.shape[2]
        super().__init__(by_class, class_ids, way, shot, query, key=0, seed=seed)
        self.episodes, self.path, self._stream = episodes, path, stream

    def __len__(self) -> int:
        return len(self.episodes.class_ids)

    @property
    def stream(self) -> str:
        """That of the stream which the list is the beginning of."""
        return self._stream

    def draw(self, start: int, count: int) -> EpisodeIndices:
        """Return episodes ``start`` to ``start + count - 1``; ValueError if they are not all in the list."""
        if start < 0 or count < 0 or start + count > len(self):
            raise ValueError(
                f"episodes {start} to {start + count - 1} were asked for, the list `{self.path}` "
                f"has {len(self)}; lower `data.init_args.evaluation.val_episodes` or "
                "`data.init_args.evaluation.test_episodes`."
            )
        rows = slice(start, start + count)
        found = self.episodes
        return EpisodeIndices(found.class_ids[rows], found.support[rows], found.query[rows])


def save_episodes(path: str | Path, plans: _Plans, counts: Mapping[str, int], store: ImageStore) -> None:
    """Write the first ``counts[split]`` episodes of each sampler to one npz file, all or nothing.

    The file names classes and image ids, and remembers enough of the store to refuse other data; no pixels.

    Raises:
        ValueError: the name does not end in ``.npz``, or a count is below 1.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"`path={path}` must end in .npz; choose such a name.")
    arrays: dict[str, Any] = {"class_names": np.array(store.class_names, dtype=np.str_)}
    names: list[tuple[str, str]] = []
    images: list[Ids] = []
    for split, plan in plans.items():
        if counts[split] < 1:
            raise ValueError(f"`counts={dict(counts)}` must be at least 1 each; found {counts[split]}.")
        for group, sampler in plan.items():
            drawn, i = sampler.draw(0, counts[split]), len(names)
            arrays |= {f"{name}_{i}": array.astype(np.int32) for name, array in vars(drawn).items()}
            arrays |= {f"stream_{i}": np.str_(sampler.stream), f"seed_{i}": sampler.seed}
            names.append((split, group))
            images += [drawn.support.ravel(), drawn.query.ravel()]
    listed = np.unique(np.concatenate(images))
    probes = listed[np.linspace(0, len(listed) - 1, min(_PROBES, len(listed))).astype(np.int64)]
    arrays |= {"names": np.array(names, dtype=np.str_), "labels": _labels_digest(store)}
    arrays |= {"probes": probes, "brightness": _brightness(store, probes)}
    write_npz(path, arrays, _FORMAT)


def load_episodes(path: str | Path, store: ImageStore) -> dict[str, dict[str, FrozenEpisodes]]:
    """Return the episodes of a file: split -> group of classes -> its list.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or of another format, its episodes are of other data than ``store``, or
            support and queries share a group of images.
    """
    what = f"`data.init_args.evaluation.file={path}`"
    found = read_npz(path, _FORMAT, what, "give a list that a datamodule's `save_episodes` has written")
    _check_data(found, store, path)
    plans: dict[str, dict[str, FrozenEpisodes]] = {}
    for i, (split, group) in enumerate(found["names"].tolist()):
        parts = [found[f"{name}_{i}"].astype(np.int64) for name in ("class_ids", "support", "query")]
        stream, seed = str(found[f"stream_{i}"]), int(found[f"seed_{i}"])
        episodes = EpisodeIndices(*parts)
        if store.n_image_groups and (shared := _shared_groups(episodes, store)):
            raise ValueError(
                f"support and queries share a group of images in {shared} of {len(parts[0])} episodes of "
                f"split '{split}' in {what}; write the list anew, or leave `data.init_args.groups` out."
            )
        plans.setdefault(split, {})[group] = FrozenEpisodes(episodes, stream, seed, path)
    return plans


def _check_data(found: dict[str, Any], store: ImageStore, path: str | Path) -> None:
    """Raise ValueError if the image ids of a list do not stand for the same images in ``store``."""
    listed, names = found["class_names"].tolist(), store.class_names
    other = None
    if listed != names:
        strange = sorted(set(listed) - set(names))
        other = f"its classes are others ({', '.join(strange[:3])})" if strange else "it has fewer classes"
    elif str(found["labels"]) != _labels_digest(store):
        other = "the classes have other numbers of images, or the images are in another order"
    else:
        differences = np.abs(_brightness(store, found["probes"]) - found["brightness"])
        if (share := float((differences > _TOLERANCE).mean())) > 0.02:
            other = f"the images themselves are others ({100 * share:.0f}% of those looked at)"
    for i, (split, _) in enumerate(found["names"].tolist()):
        if other is None and not set(found[f"class_ids_{i}"].ravel()) <= set(store.splits[split].tolist()):
            other = f"classes of its split '{split}' are in another split, such as the one trained on"
    if other:
        raise ValueError(
            f"`data.init_args.evaluation.file={path}` lists episodes of other data than {store.folder}: "
            f"{other}; use the data set, in the layout, that the list was made from, or leave "
            "`evaluation.file` out."
        )


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
