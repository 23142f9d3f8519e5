"""Which views of every image a cache of features holds."""

from collections.abc import Iterable
from dataclasses import dataclass

from psst.images.view import UPRIGHT, View

_TURNS = 4


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

        Args:
            asked: what tasks ask for, as `Policies.resolved` gives it.
            turns: whether some task turns images.

        Raises:
            ValueError: more crops are asked for than there are.
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
