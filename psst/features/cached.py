"""Cached features of some views of every image: which views, the cache, and the batches that read it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from psst.episodes import Batch
from psst.features.build import FEATURES, verify_features
from psst.images.view import UPRIGHT, View
from psst.randomness import torch_generator

_TURNS = 4
_AT_ONCE = 4096  # images whose features are summed together


@dataclass(frozen=True)
class FeatureViews:
    """How many views of every image a cache of features holds, beside the upright one.

    Args:
        crops: random crops of each augmentation that the tasks ask for.
        turned: how many of them are also there in their three quarter turns, if some task turns images; the
            upright image is in any case.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> len(FeatureViews(crops=3, turned=1).columns([View()], turns=True))
        10
    """

    crops: int = 3
    turned: int = 1

    def __post_init__(self) -> None:
        if self.crops < 0:
            raise ValueError(f"`data.init_args.features.crops={self.crops}` must be at least 0.")
        if not 0 <= self.turned <= self.crops:
            raise ValueError(
                f"`data.init_args.features.turned={self.turned}` must be between 0 and `crops`, which is "
                f"{self.crops}."
            )

    def columns(self, asked: Iterable[View], turns: bool) -> tuple[View, ...]:
        """Return the views to hold, one turn each.

        `asked` are those of the tasks, as `Policies.resolved` gives them, `turns` whether some task turns
        images. ValueError if more crops are asked for than there are.
        """
        pictures = {View(UPRIGHT): True}  # in order
        for view in asked:
            self.refuse_further(view, self.crops)
            if view.crop != UPRIGHT:
                pictures |= {View(crop, (0,), view.policy): True for crop in range(self.crops)}
        return tuple(
            View(picture.crop, (turn,), picture.policy)
            for picture in pictures
            for turn in range(_TURNS if turns and picture.crop < self.turned else 1)
        )

    @staticmethod
    def refuse_further(view: View, crops: int) -> None:
        """Raise ValueError if a view is a further crop than there are."""
        if view.crop > crops:
            raise ValueError(
                f"`data.init_args.features.crops={crops}` are cached, and a task asks for {view.crop} "
                f"different crops of the policy `{view.policy}`; raise it."
            )


class FeatureCache:
    """Features of some views of every image of a store.

    What a task asks for is drawn, row by row, among the views that are there. In training crop 0 is the
    upright image or any random crop of the policy; crops 1, 2, ... are distinct random crops. A turn is that
    of the drawn picture, or of another one where that one was not turned.

    Args:
        features: ``[n, V, D]`` float, of image i under view v; in half precision they take half the room.
        views: V of them, each with one turn for all rows; the first is the upright image.
        folder: where the cache lies; None if it is in memory only.

    Raises:
        ValueError: there is not one view for each row of `features`, or the first is another one.

    Example:
        >>> cache = FeatureCache(torch.randn(100, 3, 16), [View(UPRIGHT), View(crop=0), View(crop=1)])
        >>> drawn = cache.draw(View(crop=1), 4, 0, "train")
        >>> cache.read(torch.arange(4), View(crop=1), drawn).shape
        torch.Size([4, 16])
    """

    def __init__(self, features: Tensor, views: Sequence[View], folder: Path | None = None) -> None:
        if features.ndim != 3 or features.shape[1] != len(views):
            raise ValueError(
                f"`features` must be [n, V, D] for {len(views)} `views`, found {list(features.shape)}."
            )
        if views[0] != View(UPRIGHT):
            raise ValueError(f"`views` begin with {views[0]}, the first must be the upright image.")
        self.features, self.views, self.folder = features, tuple(views), folder
        self._columns = {view: column for column, view in enumerate(views)}
        self._tables: dict[str, Tensor] = {}

    @classmethod
    def open(cls, folder: Path) -> "FeatureCache":
        """Return the finished cache in a folder, memory-mapped; processes share one copy in memory.

        Raises as `verify_features` does.
        """
        path = Path(folder).resolve() / FEATURES
        state = path.stat() if path.is_file() else None
        return _opened(path.parent, *((state.st_size, state.st_mtime_ns) if state else (0, 0)))

    def __reduce__(self) -> tuple[Callable[..., "FeatureCache"], tuple[Any, ...]]:
        if self.folder is None:
            return FeatureCache, (self.features, self.views)
        return FeatureCache.open, (self.folder,)

    def __deepcopy__(self, memo: dict[int, Any]) -> "FeatureCache":
        return self  # read only

    def to(self, device: torch.device) -> "FeatureCache":
        """Return a copy in the memory of a device."""
        return FeatureCache(self.features.to(device), self.views, self.folder)

    def draw(self, view: View, n: int, *key: int | str) -> Tensor:
        """Return which pictures n rows show, and which others where those are not turned, ``[2, n]``.

        Of the view only the policy, and whether its crop is 0, matter beside the key of the draw. ValueError
        if the cache holds fewer crops than are asked for.
        """
        if view.crop == UPRIGHT:
            return torch.zeros(2, n, dtype=torch.long)
        table = self._table(view.policy)
        crops = len(table) - 1
        FeatureViews.refuse_further(view, crops)
        generator = torch_generator("cpu", *key, view.policy, "crops" if view.crop else "main")
        if view.crop:
            drawn = 1 + torch.rand(n, crops, generator=generator).argsort(dim=1)[:, view.crop - 1]
        else:
            drawn = torch.randint(crops + 1, (n,), generator=generator)
        turned = (table >= 0).all(dim=1).nonzero()[:, 0]
        turned = turned[view.crop > 0 and len(turned) > 1 :]  # of random crops, if any of them is turned
        if not len(turned):
            return drawn.expand(2, n)
        return torch.stack([drawn, turned[torch.randint(len(turned), (n,), generator=generator)]])

    def read(self, ids: Tensor, view: View, drawn: Tensor) -> Tensor:
        """Return features ``[k, D]`` in float32 of images ``[k]``, on their device.

        The view's turns and its policy are read; `drawn` is ``[2, k]``, as of `draw`. ValueError if a picture
        is asked for turned, and none is.
        """
        table, turns = self._table(view.policy), torch.tensor(view.turns)
        columns = table[drawn[0], turns]
        if view.turns != (0,):
            columns = torch.where(columns < 0, table[drawn[1], turns], columns)
            if bool((columns < 0).any()):
                raise ValueError(
                    "the cache of features holds no quarter turns; a task that asks for them says "
                    "`turned = True` in its class."
                )
        rows = ids * len(self.views) + columns.to(ids.device)
        found = self.features.flatten(0, 1).index_select(0, rows.to(self.features.device))
        return found.to(ids.device).float()

    def mean(self, ids: Tensor) -> Tensor:
        """Return the mean ``[D]`` of the upright images `ids`, in float32."""
        total = torch.zeros(self.features.shape[2], dtype=torch.float64)
        for start in range(0, len(ids), _AT_ONCE):
            total += self.features[ids[start : start + _AT_ONCE], 0].double().sum(dim=0)
        return (total / len(ids)).float()

    def _table(self, policy: str) -> Tensor:
        """Return the column of each picture of a policy, the upright one first, in each turn; -1 for none."""
        if policy not in self._tables:
            crops = [one for one in self.views if one.policy == policy and one.turns == (0,)]
            pictures = [View(UPRIGHT), *(one for one in crops if one.crop != UPRIGHT)]
            turned = [[replace(one, turns=(turn,)) for turn in range(_TURNS)] for one in pictures]
            columns = [[self._columns.get(view, -1) for view in row] for row in turned]
            self._tables[policy] = torch.tensor(columns)
        return self._tables[policy]


@lru_cache(maxsize=4)
def _opened(folder: Path, size: int, modified: int) -> FeatureCache:
    """Open a cache whose file has this size and date, once: its checksum is compared."""
    meta = verify_features(folder)
    array = np.load(folder / FEATURES, mmap_mode="c")  # private: torch wants to be allowed to write
    views = [View(crop, (turn,), policy) for crop, turn, policy in meta["views"]]
    return FeatureCache(torch.from_numpy(array), views, folder)


@dataclass(frozen=True, eq=False)
class CachedBatch(Batch):
    """A batch that has features in place of pixels.

    Attributes:
        cache: gives the features.

    Example:
        >>> cache = FeatureCache(torch.randn(100, 1, 16), [View(UPRIGHT)])
        >>> batch = CachedBatch(torch.arange(4), torch.tensor([0, 0, 1, 1]), index=0, cache=cache)
        >>> batch.features(View()).shape
        torch.Size([4, 16])
    """

    cache: FeatureCache = field(kw_only=True, repr=False)

    def images(self, view: View | None = None) -> Tensor:
        """Refuse: there are no pixels, a RuntimeError."""
        raise RuntimeError(
            "the batch holds cached features, no images; leave out tasks that make pictures of their own, or "
            "train on images."
        )

    def features(self, view: View) -> Tensor:
        """Return features ``[n, D]`` of a view; raises as `FeatureCache.draw` and `FeatureCache.read` do."""
        view, policies = self.policies.resolved(view), self.policies

        def drawn(pictures: View, part: str, rows: slice) -> Tensor:
            key = (policies.seed, "features", policies.split, self.index, part)
            return self.cache.draw(pictures, rows.stop - rows.start, *key).T

        return self.cache.read(self.ids, view, self._of_whole(replace(view, turns=(0,)), drawn).T)
