"""The one kind of batch: images by their ids, what is known of them, and their views."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

from psst.images.augment import Augmentation
from psst.images.geometry import rotate90
from psst.images.view import UPRIGHT, View
from psst.randomness import torch_generator

_PARTS = ("episodes", "classes", "unlabeled")


@dataclass(frozen=True)
class EpisodeShape:
    """Shape of the episodes of a batch.

    Attributes:
        episodes: Their number, B.
        way: Classes of each, N.
        shot: Support images a class, S.
        query: Query images a class, Q; the mean where queries are spread unevenly.
    """

    episodes: int
    way: int
    shot: int
    query: int

    @property
    def rows(self) -> int:
        """Images of all episodes, B * N * (S + Q)."""
        return self.episodes * self.way * (self.shot + self.query)


@dataclass(frozen=True)
class Policies:
    """How views of images are made: augmentations by name, and what keys their draws.

    Attributes:
        augmentations: By the name that a `View` calls ``policy``.
        seed: Of the run.
        split: ``train``; in another split crop 0 is the upright image.

    Example:
        >>> Policies({"main": Augmentation(flip=True)}, split="val").resolved(View()) == View(UPRIGHT)
        True
    """

    augmentations: Mapping[str, Augmentation] = field(default_factory=dict)
    seed: int = 0
    split: str = "train"

    def resolved(self, view: View) -> View:
        """Return `view`, as the upright one if that is the same picture.

        Raises:
            KeyError: Its policy is none of these.
        """
        if view.policy not in (known := {"main": None, **self.augmentations}):
            raise KeyError(
                f"`policy={view.policy}` names no augmentation of the data module, which has "
                f"{', '.join(f'`{name}`' for name in known)}; add it under `data.init_args.augmentations`."
            )
        plain = view.policy not in self.augmentations or (view.crop == 0 and self.split != "train")
        return replace(view, crop=UPRIGHT) if plain else view

    def crop(self, pixels: Tensor, view: View, *key: int | str) -> Tensor:
        """Return images ``[n, C, H, W]`` in [0, 1] of uint8 or float pixels, augmented; not turned."""
        if view.crop != UPRIGHT:
            parts = (self.seed, "augmentation", self.split, view.policy, view.crop, *key)
            pixels = self.augmentations[view.policy](pixels, torch_generator(pixels.device, *parts))
        return pixels if pixels.is_floating_point() else pixels.to(torch.get_default_dtype()) / 255


@dataclass(frozen=True, eq=False)  # a batch is itself: tensors have no truth value
class Batch:
    """Images and what is known of them: rows of episodes, then rows of classes, then unlabeled rows.

    In the rows of episodes each episode stands whole, its N * S support images before its N * Q queries.
    A batch is cheap until somebody asks for a view of it.

    Attributes:
        ids: ``[n]`` int64, places in the image store.
        labels: ``[n]`` int64, training class in [0, M); -1 without.
        index: Place of the batch in its stream; keys all randomness of the step.
        shape: Of the episodes in the first rows; None if there are none.
        targets: ``[B * N * (S + Q)]`` int64, class within the episode; None without episodes.
        n_unlabeled: Rows at the end of a whole batch that have no label; main never encodes them.
        pixels: ``[n, C, H, W]`` uint8, or float in [0, 1]; None until they are looked up.
        policies: Makes views of the pixels.
        root: The batch that this one is rows of; None for a whole one.
        rows: Which rows of it: a range, or int64 ``[n]`` on the CPU.

    Example:
        >>> batch = Batch(torch.arange(4), torch.tensor([0, 0, 1, 1]), index=0, pixels=torch.rand(4, 1, 8, 8))
        >>> batch.take(range(2)).images(View(turns=(1,))).shape
        torch.Size([2, 1, 8, 8])
    """

    ids: Tensor
    labels: Tensor
    index: int
    shape: EpisodeShape | None = None
    targets: Tensor | None = None
    n_unlabeled: int = 0
    pixels: Tensor | None = field(default=None, repr=False)
    policies: Policies = Policies()
    root: "Batch | None" = field(default=None, repr=False)
    rows: range | Tensor | None = field(default=None, repr=False)
    _crops: dict[View, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def whole(self) -> "Batch":
        """The batch that this one is rows of; itself if it is whole."""
        return self if self.root is None else self.root

    @property
    def places(self) -> range | Tensor:
        """The rows of `whole` that this batch consists of."""
        return range(len(self)) if self.rows is None else self.rows

    @cached_property
    def numbers(self) -> Tensor:
        """The same as int64 ``[n]`` on the CPU; torch takes a range number by number."""
        rows = self.places
        return torch.arange(rows.start, rows.stop, rows.step) if isinstance(rows, range) else rows

    @cached_property
    def episodes(self) -> "Batch | None":
        """The rows of the episodes, with `shape` and `targets`; None if there are none."""
        if self.shape is None:
            return None
        if self.shape.rows == len(self):
            return self
        return replace(self.take(range(self.shape.rows)), shape=self.shape, targets=self.targets)

    @cached_property
    def classes(self) -> "Batch | None":
        """The labeled rows that belong to no episode; None if there are none."""
        return self._of_parts(1, 2)

    @cached_property
    def labeled(self) -> "Batch | None":
        """All rows but the unlabeled ones; None if there are none."""
        return self._of_parts(0, 2)

    @cached_property
    def unlabeled(self) -> "Batch | None":
        """The rows without a label; None if there are none."""
        return self._of_parts(2, 3)

    def take(self, rows: range | Tensor) -> "Batch":
        """Return some rows as a batch: the same views of them, and no episodes any more.

        Args:
            rows: A range, or int64 ``[k]`` on the CPU, so that nobody waits for the device.
        """
        chosen = _index(rows, self.ids.device)
        places = self.places[chosen] if isinstance(rows, range) else self.numbers[rows]
        part = replace(self, ids=self.ids[chosen], labels=self.labels[chosen], root=self.whole, rows=places)
        return replace(part, shape=None, targets=None, n_unlabeled=0, pixels=None)

    def images(self, view: View | None = None) -> Tensor:
        """Return a view of the images, ``[n, C, H, W]`` in [0, 1], not normalized.

        Augmentations of different parts of a batch are drawn apart, so that unlabeled rows change nothing of
        what the others look like.

        Args:
            view: `View()`, what the main task sees, by default.

        Raises:
            RuntimeError: The batch holds no pixels.
            ValueError: The view has turns for another number of rows, or turns images that are not square.
        """
        view = self.policies.resolved(View() if view is None else view)
        images = self._of_whole(replace(view, turns=(0,)), self.whole._crop)
        if len(view.turns) == 1:
            return images.rot90(view.turns[0], (-2, -1)) if view.turns[0] else images
        return rotate90(images, torch.tensor(view.turns, device=images.device))

    def features(self, view: View) -> Tensor | None:
        """Return cached features ``[n, D]`` of a view; None for a batch of pixels, which has none."""
        return None

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """Return a whole batch on `device`."""
        return self._each(partial(Tensor.to, device=device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """Return a whole batch in page-locked memory; the loader's ``pin_memory`` calls this."""
        return self._each(Tensor.pin_memory)

    def _each(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        tensors = {name: function(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **cast(Any, tensors))

    @property
    def _ends(self) -> tuple[int, ...]:
        """Where the parts of a whole batch begin, and the last one ends."""
        return 0, self.shape.rows if self.shape else 0, len(self) - self.n_unlabeled, len(self)

    def _of_parts(self, first: int, end: int) -> "Batch | None":
        """Return the rows that lie in some parts of the whole batch."""
        start, stop = self.whole._ends[first], self.whole._ends[end]
        inside = (self.numbers >= start) & (self.numbers < stop)
        if bool(inside.all()):
            return self
        if not bool(inside.any()):
            return None
        return self.take(range(start, stop) if self.rows is None else inside.nonzero()[:, 0])

    def _of_whole(self, view: View, made: Callable[[View, str, slice], Tensor]) -> Tensor:
        """Return these rows of what is made of each part of the whole batch when it is first needed."""
        whole = self.whole
        if view not in whole._crops:
            parts = [(name, slice(*ends)) for name, ends in zip(_PARTS, pairwise(whole._ends), strict=True)]
            made_parts = [made(view, name, rows) for name, rows in parts if rows.stop > rows.start]
            whole._crops[view] = torch.cat(made_parts) if len(made_parts) > 1 else made_parts[0]
        crops = whole._crops[view]
        return crops[_index(self.places, crops.device)]

    def _crop(self, view: View, part: str, rows: slice) -> Tensor:
        if self.pixels is None:
            raise RuntimeError("the batch holds ids of images, not their pixels; it was not read yet.")
        return self.policies.crop(self.pixels[rows], view, part, self.index)


def _index(rows: range | Tensor, device: torch.device) -> Any:
    return slice(rows.start, rows.stop, rows.step) if isinstance(rows, range) else rows.to(device)
