"""Refuse a checkpoint of another model before anything is loaded from it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def check_checkpoint(
    checkpoint: Mapping[str, Any],
    state: Mapping[str, Tensor],
    descriptions: Mapping[str, Any],
    newest: int,
    path: str = "",
) -> None:
    """Check that every parameter of the model is in the checkpoint, in its shape, and nothing else.

    `state` and `descriptions` are the state dict and the hyperparameters of the model that is to be filled,
    `newest` is the format that this psst reads; older ones do.

    Raises:
        ValueError: It was written by a newer psst, or holds another model.
    """
    where = f"checkpoint {path}" if path else "the checkpoint"
    version = checkpoint.get("psst_format", newest)
    if version > newest:
        raise ValueError(
            f"{where} has format {version}, this psst reads up to {newest}; install a newer psst-fewshot."
        )
    stored = checkpoint.get("state_dict", {})
    differing = [
        f"{key} is {_shape(stored.get(key))} in the checkpoint and {_shape(state.get(key))} here"
        for key in dict.fromkeys([*state, *stored])
        if _shape(stored.get(key)) != _shape(state.get(key))
    ]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise ValueError(
            f"{where} holds another model: {_summary(checkpoint.get('hyper_parameters', {}))}, "
            f"this one is {_summary(descriptions)}; {'; '.join(differing[:3])}{more}. "
            "Give the config that it was trained with, or the checkpoint of this model."
        )


def _shape(value: object) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else "absent"


def _summary(descriptions: Mapping[str, Any]) -> str:
    backbone = descriptions.get("backbone")
    if not isinstance(backbone, Mapping):
        return "no FewShotModule"
    name = str(backbone.get("class_path", "?")).rpartition(".")[2]
    arguments = ", ".join(f"{key}={value}" for key, value in backbone.get("init_args", {}).items())
    tasks = [
        str(task.get("class_path", "?")).rpartition(".")[2]
        for task in (descriptions["main"], *(descriptions.get("auxiliary") or []))
    ]
    return (
        f"{name}({arguments}) for images {descriptions.get('image_shape')} of "
        f"{len(descriptions['classes'])} classes with {', '.join(tasks)}"
    )
