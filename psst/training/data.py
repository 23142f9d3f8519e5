"""What a FewShotModule asks of the trainer's datamodule."""

from typing import Any

_NEEDED = ("image_shape", "train_classes", "policies", "episode_plan", "eval_episodes")


def few_shot_data(datamodule: object) -> Any:
    """Return the datamodule, if it has what `psst.datamodules.EpisodicDataModule` offers.

    ``image_shape`` ``(C, H, W)``, known before its `setup`; ``train_classes``, names in the order of the
    labels; ``policies(split)``, which make views; ``episode_plan(split)`` and ``eval_episodes(split)`` of
    ``val`` and ``test``. ``mean`` and ``std`` are optional.

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
    return datamodule
