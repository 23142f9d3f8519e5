"""``psst import WEIGHTS``: somebody else's weights as a checkpoint that ``psst test`` evaluates."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psst.commands.arguments import command

if TYPE_CHECKING:
    from torch import Tensor, nn

_TEXT = """\
Backbone and data set are those of a run; the classifier of the weights, if they hold one, is left out.
Tensors are told by their names, or, where those are others, by their order, in which every shape must agree;
.safetensors keeps none.

example: psst import res12.pth --config lee2019_protonet_conv4_mini --output res12.ckpt"""
_COUNTER = "num_batches_tracked"  # older files lack it, and evaluation does not read it


@command(_TEXT)
def main(
    weights: Path,
    *,
    config: str,
    output: Path = Path("model.ckpt"),
    root: str | None = None,
    mean: list[float] | None = None,
    std: list[float] | None = None,
) -> str:
    """Fill the backbone of a run with weights from a file, and save it as a checkpoint.

    Args:
        weights: A state dict as .pth, .pt, .tar or .safetensors, also one level below other entries.
        config: The run: a YAML file, or a shipped run or recipe by name.
        output: The checkpoint to write.
        root: Folder of the data set; that of the run if not given.
        mean: Of the channels, in [0, 1], by which the images of these weights were normalized; that of the
            training images if not given.
        std: As `mean`.
    """
    from pytorch_lightning import Trainer

    from psst.backbones.timm_backbone import read_weights
    from psst.configs import find
    from psst.files import atomic_path
    from psst.training.experiment import Experiment

    state = read_weights(str(weights), str(weights))
    run = Experiment.from_config(find(config), {} if root is None else {"data.init_args.root": root})
    data, module = run.datamodule(), run.module()
    data.prepare_data()
    data.setup("test")
    module.attach(data)
    for name, values, buffer in (("mean", mean, module.encoder.mean), ("std", std, module.encoder.std)):
        if values is not None:
            if len(values) != len(buffer) or (name == "std" and min(values) <= 0):
                above = " above 0" if name == "std" else ""
                raise ValueError(f"`--{name} {values}` must be {len(buffer)} numbers{above}, one a channel.")
            buffer.copy_(buffer.new_tensor(values))
    how, left = fill(module.encoder.backbone, state, str(weights))
    trainer = Trainer(logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
    trainer.strategy.connect(module)
    with atomic_path(output) as temporary:
        trainer.save_checkpoint(temporary, weights_only=True)
    rest = f"; left out: {', '.join(left[:4])}{', ...' if len(left) > 4 else ''}" if left else ""
    return (
        f"{type(module.encoder.backbone).__name__} filled by {how}{rest}\n"
        f"next: psst test --config {config} --ckpt_path {output}"
    )


def fill(backbone: "nn.Module", state: Mapping[str, Any], what: str) -> tuple[str, list[str]]:
    """Fill a backbone; return how its tensors were told, and which of the file's were left out.

    The tensors of `state` may lie one level below, as with ``{"params": {...}}``. ValueError if they are
    another network's: what differs is named, and the file as `what`.
    """
    own = {key: value for key, value in backbone.state_dict().items() if not key.endswith(_COUNTER)}
    theirs = _tensors(state)
    ends = sorted({key[: -len(name)] for key in theirs for name in own if key.endswith(name)}, key=len)
    for prefix in ends:
        named = {name: theirs.get(prefix + name) for name in own}
        if all(value is not None and value.shape == own[name].shape for name, value in named.items()):
            backbone.load_state_dict(named, strict=False)
            left = theirs.keys() - {prefix + name for name in own}
            return f"the names of {len(named)} tensors", sorted(left)
    keys = _in_order(own, theirs)
    if keys is None:
        raise ValueError(_difference(own, theirs, what))
    backbone.load_state_dict({name: theirs[key] for name, key in zip(own, keys, strict=True)}, strict=False)
    return f"the order of {len(keys)} tensors", sorted(theirs.keys() - set(keys))


def _tensors(state: Mapping[str, Any]) -> "dict[str, Tensor]":
    """The tensors of a file, or of the entry that holds most of them."""
    from torch import Tensor

    inner = [value for value in state.values() if isinstance(value, Mapping)]
    fullest = max([state, *inner], key=lambda one: sum(isinstance(value, Tensor) for value in one.values()))
    return {
        key: value
        for key, value in fullest.items()
        if isinstance(value, Tensor) and not key.endswith(_COUNTER)
    }


def _in_order(own: "Mapping[str, Tensor]", theirs: "Mapping[str, Tensor]") -> list[str] | None:
    """The keys of a run of their tensors that has the shapes of ours, where there is just one such run."""
    keys, shapes = list(theirs), [tensor.shape for tensor in own.values()]
    runs = (keys[i : i + len(own)] for i in range(len(keys) - len(own) + 1))
    found = [run for run in runs if [theirs[key].shape for key in run] == shapes]
    return found[0] if len(found) == 1 else None


def _difference(own: "Mapping[str, Tensor]", theirs: "Mapping[str, Tensor]", what: str) -> str:
    pairs = zip(own.items(), theirs.items(), strict=False)
    first = next(((a, b) for a, b in pairs if a[1].shape != b[1].shape), None)
    said = f"`{what}` holds {len(theirs)} tensors, the backbone has {len(own)}"
    if first is not None:
        (name, tensor), (key, other) = first
        said += f"; the first that differs: `{name}` is {list(tensor.shape)}, `{key}` {list(other.shape)}"
    return f"{said}. Give the config of a run with that network, its widths and its image size."
