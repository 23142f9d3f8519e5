"""Training batches that depend on the seed and their place in the stream only, whatever the module draws."""

import random
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import CombinedLoader

from psst.randomness import stream_key

_END = object()


class KeyedLoader:
    """Goes through a loader, and keys all random numbers, those of loading and those of the training step.

    Pass e of a stream shuffles by (seed, stream, e), in the main process or in workers, and a pass entered in
    its middle goes through what lies before without giving it out. Global generators of torch, NumPy and
    Python are set by (seed, stream, i) before batch i is loaded, and again when it is given out, so that
    augmentation, dropout and the like are the same in every run that shares the seed. Everything else is
    asked of the loader itself: any iterable of batches, a DataLoader, or Lightning's CombinedLoader. Without
    a length a pass is keyed by where it begins, and entered in its middle only where `place` remembers that.
    """

    def __init__(self, loader: Iterable[Any], seed: int, stream: str, place: "PassPlace") -> None:
        self.loader, self.seed, self.stream, self.place = loader, seed, stream, place

    def __len__(self) -> int:
        length = _loader_length(self.loader)
        if length is None:
            raise TypeError(f"{type(self.loader).__name__} has no length.")
        return length

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("loader", "place", "state_dict", "load_state_dict"):
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        position, length = self.place.position, _loader_length(self.loader)
        n_batches = None if length is None else self.place.pass_length(length)
        began = self.place.begin(position)
        number, skipped = divmod(position, n_batches) if n_batches else (began, position - began)
        _set_pass(self.loader, number, self._seed("pass", number))
        batches = iter(self.loader)
        for place in count(position - skipped):
            batch: Any = next(batches, _END)
            self._seed("step", place)
            if batch is _END:
                return
            if place >= position:
                yield batch[0] if isinstance(self.loader, CombinedLoader) else batch
            self._seed("load", place + 1)

    def _seed(self, what: str, place: int) -> int:
        """Key the global generators of torch (all devices), NumPy and Python."""
        key = stream_key(self.seed, self.stream, what, place)
        torch.manual_seed(key)
        np.random.seed(key % 2**32)
        random.seed(key)
        return key


class PassPlace:
    """Where the training of a datamodule stands in its stream of batches, and where the pass began."""

    def __init__(self, data: LightningDataModule) -> None:
        self._data = data
        self.began = 0
        self._resumed: int | None = None  # where the pass began that the next one goes on with

    @property
    def position(self) -> int:
        """Batches of the stream that were used before a pass begins."""
        trainer = self._data.trainer
        if trainer is None:
            return 0
        return int(trainer.fit_loop.epoch_loop.batch_progress.state_dict()["total"]["processed"])

    def pass_length(self, length: int) -> int:
        """Batches in a pass over a loader of this length."""
        limit = 1.0 if self._data.trainer is None else self._data.trainer.limit_train_batches
        return min(length, limit) if isinstance(limit, int) else int(length * limit)

    def begin(self, position: int) -> int:
        """Begin a pass, or go on with one, at `position`; return where it began."""
        self.began = position if self._resumed is None else self._resumed
        self._resumed = None
        return self.began

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"began": self.began}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the pass that the checkpoint was in."""
        self._resumed = int(state_dict["began"])


def _loader_length(loader: Iterable[Any]) -> int | None:
    """Return the number of batches in a pass, None where that is not known beforehand."""
    if isinstance(loader, CombinedLoader):
        lengths = [_loader_length(part) for part in loader.flattened]
        known = [length for length in lengths if length is not None]
        if len(known) < len(lengths) or not known:
            return None
        if loader._mode == "sequential":
            return sum(known)
        return min(known) if loader._mode == "min_size" else max(known)
    try:
        return len(loader)  # type: ignore[arg-type]  # caught below
    except (TypeError, NotImplementedError):
        return None


def one_loader(loader: Any) -> Iterable[Any]:
    """Return one iterable: collections of loaders joined as Lightning joins them."""
    return CombinedLoader(loader, "max_size_cycle") if isinstance(loader, list | tuple | dict) else loader


def _set_pass(loader: Iterable[Any], number: int, key: int) -> None:
    """Tell samplers the pass, as Lightning does, and start the generators that loaders hold themselves."""
    parts = loader.flattened if isinstance(loader, CombinedLoader) else [loader]
    for part in parts:
        batch_sampler: Any = getattr(part, "batch_sampler", None)
        inner: Any = getattr(batch_sampler, "sampler", None)
        holders: list[Any] = [part, getattr(part, "sampler", None), batch_sampler, inner]
        for holder in holders:
            if isinstance(getattr(holder, "generator", None), torch.Generator):
                holder.generator.manual_seed(key)
            if callable(getattr(holder, "set_epoch", None)):
                holder.set_epoch(number)
