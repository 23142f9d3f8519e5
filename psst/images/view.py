"""What a task sees of an image: which crop, how turned, under which augmentation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

UPRIGHT = -1
"""The crop of an image as it is stored: no augmentation at all."""


@dataclass(frozen=True)
class View:
    """One look at the images of a batch; hashable, so that equal looks are encoded once.

    Two views with equal fields are the same pictures, whoever asks for them and when.

    Attributes:
        crop: 0 is what the main task sees; 1, 2, ... are further augmentations, independent of it and of
            each other; `UPRIGHT` is none.
        turns: Quarter turns, counter-clockwise: one for all rows, or one a row.
        policy: Name of the augmentation in the data module.

    Raises:
        ValueError: `crop` is below `UPRIGHT`, or `turns` is empty.

    Example:
        >>> View(turns=(0, 4)) == View()  # whole turns are none, and equal ones are written once
        True
    """

    crop: int = 0
    turns: tuple[int, ...] = (0,)
    policy: str = "main"

    def __post_init__(self) -> None:
        if self.crop < UPRIGHT:
            raise ValueError(f"`crop={self.crop}` must be a number from 0, or UPRIGHT ({UPRIGHT}).")
        if not self.turns:
            raise ValueError("`turns=()` must hold a number of quarter turns, or one for each row.")
        turns = tuple(int(turn) % 4 for turn in self.turns)
        object.__setattr__(self, "turns", turns[:1] if len(set(turns)) == 1 else turns)
        if self.crop == UPRIGHT:
            object.__setattr__(self, "policy", "main")  # no augmentation has no name

    def of_rows(self, rows: Sequence[int]) -> "View":
        """Return the view of some rows of the batch."""
        if len(self.turns) == 1:
            return self
        return replace(self, turns=tuple(self.turns[row] for row in rows))
