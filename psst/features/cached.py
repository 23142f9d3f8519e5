"""Cached features of some views of every image, and the batches that read them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from psst.episodes import Batch
from psst.images.view import View


class FeatureCache:
    """Features of some views of every image of a store.

    Args:
        features: ``[n, V, D]`` float, of image i under view v; in half precision they take half the room.
        views: V of them, each with one turn for all rows.

    Raises:
        ValueError: There is not one view for each row of `features`, or a view has a turn for each image.

    Example:
        >>> cache = FeatureCache(torch.randn(100, 2, 16), [View(), View(crop=1)])
        >>> cache.read(torch.arange(4), View(crop=1)).shape
        torch.Size([4, 16])
    """

    def __init__(self, features: Tensor, views: Sequence[View]) -> None:
        if features.ndim != 3 or features.shape[1] != len(views):
            raise ValueError(
                f"`features` must be [n, V, D] for {len(views)} `views`, found {list(features.shape)}."
            )
        if any(len(view.turns) > 1 for view in views):
            raise ValueError("`views` have one turn for all rows each; list the four turns as four views.")
        self.features = features
        self._places = {view: place for place, view in enumerate(views)}

    def read(self, ids: Tensor, view: View) -> Tensor:
        """Return features ``[k, D]`` in float32 of the images ``[k]`` under a view, turned row by row.

        Raises:
            ValueError: The cache lacks the view.
        """
        places = [self._place(replace(view, turns=(turn,))) for turn in view.turns]
        columns = torch.tensor(places, device=self.features.device)
        return self.features[ids.to(self.features.device), columns].float()

    def _place(self, view: View) -> int:
        if view not in self._places:
            raise ValueError(
                f"the cache of features has no {view}; it holds {', '.join(map(str, self._places))}. "
                "Build it with the views of every task, or leave the task out."
            )
        return self._places[view]


@dataclass(frozen=True, eq=False)
class CachedBatch(Batch):
    """A batch that has features in place of pixels.

    Attributes:
        cache: Gives the features.

    Example:
        >>> cache = FeatureCache(torch.randn(100, 1, 16), [View()])
        >>> batch = CachedBatch(torch.arange(4), torch.tensor([0, 0, 1, 1]), index=0, cache=cache)
        >>> batch.features(View()).shape
        torch.Size([4, 16])
    """

    cache: FeatureCache = field(kw_only=True, repr=False)

    def resolved(self, view: View) -> View:
        """Return the view as it is: the cache knows its views by name."""
        return view

    def images(self, view: View | None = None) -> Tensor:
        """Refuse: there are no pixels.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(
            "the batch holds cached features, no images; leave out tasks that make pictures of their own, or "
            "train on images."
        )

    def features(self, view: View) -> Tensor:
        """Return features ``[n, D]`` of a view."""
        return self.cache.read(self.ids, view)
