"""Training batches that depend on the seed and their place in the stream only, whatever the module draws."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

import numpy as np
import torch
from pytorch_lightning.utilities import CombinedLoader

from psst.randomness import stream_key

_END = object()


class KeyedLoader:
    """Goes through a loader, and keys all random numbers, those of loading and those of the training step.

    Pass e of a stream shuffles by (seed, stream, e), in the main process or in workers, and a pass entered in
    its middle goes through what lies before without giving it out. Global generators of torch, NumPy and
    Python are set by (seed, stream, i) before batch i is loaded, and again when it is given out, so that
    augmentation, dropout and the like are the same in every run that shares the seed. Everything else is
    asked of the loader itself.

    Args:
        loader: Any iterable of batches: a DataLoader, or Lightning's CombinedLoader.
        seed: Of the run.
        stream: Name of the stream.
        position: Batches of the stream that were used before a pass begins.
        pass_length: Batches in a pass, given the loader's length. Without one a pass is keyed by where it
            begins, and entered in its middle only where `place` says where that was.
        place: Where the current pass began.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        seed: int,
        stream: str,
        position: Callable[[], int],
        pass_length: Callable[[int], int] = lambda length: length,
        place: "PassPlace | None" = None,
    ) -> None:
        self.loader = loader
        self.seed = seed
        self.stream = stream
        self.position = position
        self.pass_length = pass_length
        self.place = place or PassPlace()

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
        position, length = self.position(), _loader_length(self.loader)
        n_batches = None if length is None else self.pass_length(length)
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
    """Where the current pass over a loader began: batches of the stream that were used before."""

    def __init__(self) -> None:
        self.began = 0
        self._resumed: int | None = None  # where the pass began that the next one goes on with

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
