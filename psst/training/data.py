"""What a FewShotModule asks of the trainer's datamodule."""

from collections.abc import Mapping
from typing import Protocol, cast

from psst.episodes import EpisodeSampler, Policies

__all__ = ["FewShotData", "few_shot_data"]

_NEEDED = ("image_shape", "train_classes", "policies", "episode_plan", "eval_episodes")


class FewShotData(Protocol):
    """A datamodule with images of one shape and episodes to evaluate. `mean` and `std` are optional.

    Example:
        >>> data = few_shot_data(Glyphs())
        >>> data.image_shape
        (1, 28, 28)
    """

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``, known before `setup`."""

    @property
    def train_classes(self) -> tuple[str, ...]:
        """Names of the training classes, in the order of the labels."""

    def policies(self, split: str) -> Policies:
        """Return what makes the views of images of a split."""

    def episode_plan(self, split: str) -> Mapping[str, EpisodeSampler]:
        """Return the sampler of each group of classes of ``val`` or ``test``."""

    def eval_episodes(self, split: str) -> int:
        """Return the number of episodes of each group."""


def few_shot_data(datamodule: object) -> FewShotData:
    """Return the datamodule, typed.

    Raises:
        TypeError: It lacks something.
    """
    # properties of the class are not asked for their values, some of which there are after `setup` only
    known = {*dir(type(datamodule)), *getattr(datamodule, "__dict__", ())}
    lacking = [name for name in _NEEDED if name not in known]
    if lacking:
        found = "no datamodule" if datamodule is None else f"{type(datamodule).__name__}, which lacks"
        missing = "" if datamodule is None else " " + ", ".join(f"`{name}`" for name in lacking)
        raise TypeError(
            f"FewShotModule needs a datamodule with {', '.join(f'`{name}`' for name in _NEEDED)}, found "
            f"{found}{missing}; pass `datamodule=` a subclass of psst.datamodules.EpisodicDataModule."
        )
    return cast(FewShotData, datamodule)
