"""Typed batches that move between devices as one."""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor


class TensorBatch:
    """A frozen dataclass of tensors, some of which hold images.

    The fields in ``IMAGES`` hold pixels ``[..., C, H, W]``, or, until `with_images`, image ids ``[...]``.
    """

    IMAGES: ClassVar[tuple[str, ...]] = ()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return the batch on ``device``."""
        return self._each(partial(Tensor.to, device=device, non_blocking=non_blocking))

    def pin_memory(self, device: torch.device | str | None = None) -> Self:
        """Return the batch in page-locked memory; the loader's ``pin_memory`` calls this."""
        return self._each(Tensor.pin_memory if device is None else partial(Tensor.pin_memory, device=device))

    @property
    def holds_ids(self) -> bool:
        """Whether image ids stand where images will be."""
        first: Tensor = getattr(self, self.IMAGES[0])
        return first.ndim < 3

    def with_images(self, read: Callable[[Tensor], Tensor]) -> Self:
        """Return the batch with the images that ``read`` gives for its image ids ``[...]``."""
        found = {name: getattr(self, name) for name in self.IMAGES}
        return self._with({name: read(ids) for name, ids in found.items() if ids is not None})

    def _each(self, function: Callable[[Tensor], Tensor]) -> Self:
        found = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]  # subclasses are dataclasses
        return self._with(
            {name: function(value) for name, value in found.items() if isinstance(value, Tensor)}
        )

    def _with(self, changes: dict[str, Any]) -> Self:
        changed: Self = replace(self, **changes)  # type: ignore[type-var]  # as above
        return changed
