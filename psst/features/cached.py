"""Cached features of some views of every image, and the batches that read them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from psst.episodes import Batch
from psst.features.build import FEATURES, verify_features
from psst.features.views import FeatureViews
from psst.images.view import UPRIGHT, View
from psst.randomness import torch_generator

_AT_ONCE = 4096  # images whose features are summed together


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

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is truncated or changed, or of another format.
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

        Args:
            view: its turns play no part.
            n: rows.
            key: of the draw; beside it only the view's policy matters, and whether its crop is 0.

        Raises:
            ValueError: the cache holds fewer crops than are asked for.
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
        """Return features ``[k, D]`` in float32 on the device of `ids`.

        Args:
            ids: ``[k]`` images.
            view: its turns and its policy are read.
            drawn: ``[2, k]``, as of `draw`.

        Raises:
            ValueError: a picture is asked for turned, and none is.
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
            crops = sum(
                view.policy == policy and view.crop >= 0 and view.turns == (0,) for view in self.views
            )
            pictures = [View(UPRIGHT), *(View(crop, (0,), policy) for crop in range(crops))]
            self._tables[policy] = torch.tensor(
                [
                    [self._columns.get(replace(picture, turns=(turn,)), -1) for turn in range(4)]
                    for picture in pictures
                ]
            )
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
        """Refuse: there are no pixels.

        Raises:
            RuntimeError: always.
        """
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
