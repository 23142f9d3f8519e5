"""Any network of timm as a backbone."""

import difflib
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from psst.backbones.backbone import Backbone
from psst.backbones.batch_stats import evaluating

_NAME_KEY = "model.init_args.backbone.init_args.name"


class Timm(Backbone):
    """A network of timm without its classifier, by name. timm is imported when the layers are made.

    Once built, `pretrained` is False and `checkpoint_path` None: the weights are then the module's own, so a
    description taken from it rebuilds the architecture without a download and a checkpoint fills it.

    Args:
        name: As in ``timm.list_models()``, or one of timm's ``hf-hub:`` and ``local-dir:`` addresses.
        pretrained: Whether to start from timm's published weights (a download, cached by timm).
        checkpoint_path: File of weights to start from, ``.safetensors`` or a state dict of torch; a
            classifier in it is left out. Read with ``weights_only=True``.
        options: Further arguments of ``timm.create_model``, such as ``{img_size: 84}`` for a ViT.

    Raises:
        ValueError: Both `pretrained` and `checkpoint_path` are given.

    Example:
        >>> backbone = Timm("resnet18")
        >>> backbone.build((3, 64, 64))
        >>> backbone.num_features
        512
    """

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        checkpoint_path: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if pretrained and checkpoint_path is not None:
            raise ValueError(
                f"`pretrained=True` and `checkpoint_path={checkpoint_path}` both give weights; keep one."
            )
        self.name, self.options = name, options
        self.pretrained, self.checkpoint_path = pretrained, checkpoint_path

    def make(self, image_shape: tuple[int, int, int]) -> int:
        """Create the network, load its weights and measure the length of its features.

        FileNotFoundError if there is no file at `checkpoint_path`; ValueError if timm has no such network, it
        does not accept images of this shape, or the weights are another network's.
        """
        self.network = create(self.name, _NAME_KEY, image_shape[0], self.options or {}, self.pretrained)
        n_features = self._measure(image_shape)
        if self.checkpoint_path is not None:
            what = f"checkpoint_path={self.checkpoint_path}"
            load_weights(self.network, read_weights(self.checkpoint_path, what), what, self.name)
        self.pretrained, self.checkpoint_path = False, None
        return n_features

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``[n, D]`` of normalized images ``[n, C, H, W]``."""
        features: Tensor = self.network(images)
        return features

    def maps(self, images: Tensor) -> Tensor:
        """Return maps ``[n, C', h, w]`` before timm's pooling; TypeError for a network without."""
        if self.map_shape is None:
            return super().maps(images)
        maps: Tensor = self.network.forward_features(images)  # type: ignore[operator]  # of every timm model
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        """Return features ``[n, D]`` of maps, as timm pools them."""
        features: Tensor = self.network.forward_head(maps, pre_logits=True)  # type: ignore[operator]  # as above
        return features

    def _measure(self, image_shape: tuple[int, int, int]) -> int:
        """Return the length of a feature; keep the shape of the maps, if `pool` makes features of them."""
        probe = torch.rand(1, *image_shape, generator=torch.Generator().manual_seed(0))
        try:
            with evaluating(self.network), torch.no_grad():
                features = self.network(probe)
                maps = self.network.forward_features(probe)  # type: ignore[operator]  # as above
                pooled = self.pool(maps) if maps.ndim == 4 else None  # others are tokens
        except (AssertionError, RuntimeError) as error:
            raise ValueError(
                f"`{_NAME_KEY}={self.name}` does not accept images of shape {image_shape}: {error}; "
                "set `data.init_args.size`, or `options: {img_size: ...}` of the backbone."
            ) from error
        if features.ndim != 2:
            raise ValueError(
                f"`{_NAME_KEY}={self.name}` gives features of shape {tuple(features.shape)}, not [n, D]; "
                "leave `global_pool` in `options` as it is."
            )
        if pooled is not None and torch.allclose(pooled, features, rtol=1e-4, atol=1e-6):
            self.map_shape = (maps.shape[1], maps.shape[2], maps.shape[3])
        return int(features.shape[1])


def create(
    name: str, argument: str, channels: int, options: Mapping[str, Any], pretrained: bool = False
) -> nn.Module:
    """Make a network of timm without its classifier; `argument` is the key of its name, for errors."""
    import timm
    from huggingface_hub import constants

    if ":" not in name and not timm.is_model(name):
        close = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(close)}?" if close else "`timm.list_models()` lists them."
        raise ValueError(f"`{argument}={name}` must be a network of timm {timm.__version__}; {hint}")
    fetched, before = pretrained or name.startswith("hf-hub:"), constants.HF_HUB_OFFLINE
    offline = fetched and not _answers(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = before or offline  # looks at what was fetched before, and tries nothing again
    try:
        network: nn.Module = timm.create_model(
            name, pretrained=pretrained, num_classes=0, in_chans=channels, **options
        )
    except (TypeError, RuntimeError, OSError) as error:
        weights = " with its published weights" if pretrained else ""
        way_out = "give a file of weights, as `encoder: NAME@FILE` or `checkpoint_path`"
        offline = offline and "No pretrained weights" not in str(error)  # nobody has published any
        away = f"they are not on this machine, and it is offline: {constants.ENDPOINT} is away; {way_out}."
        raise ValueError(
            f"timm cannot make `{argument}={name}`{weights} for {channels} channels with "
            f"`options={dict(options)}`: {away if offline else error}"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before
    return network


def _answers(address: str) -> bool:
    """Whether a server can be reached; a proxy is taken at its word."""
    place = urlsplit(address)
    with suppress(OSError):
        socket.create_connection((place.hostname or "", place.port or 443), timeout=3).close()
        return True
    return bool(getproxies())


def read_weights(path: str, what: str) -> dict[str, Any]:
    """Read a state dict of timm or torch from a file; `what` is the argument as typed, for errors."""
    from timm.models import load_state_dict

    if not Path(path).is_file():
        raise FileNotFoundError(f"`{what}` must be a file of weights; there is none.")
    try:
        return dict(load_state_dict(path, weights_only=True))
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0].partition(". ")[0]
        raise ValueError(
            f"`{what}` cannot be read as weights ({reason}); give a state dict as .safetensors or .pth."
        ) from error


def load_weights(network: nn.Module, state: Mapping[str, Any], what: str, name: str) -> None:
    """Fill a network from a state dict, classifier aside; position embeddings take on its image size."""
    heads = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    state = {
        key: value for key, value in state.items() if not key.startswith(tuple(f"{head}." for head in heads))
    }
    adjust = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if adjust is not None and _differing(network, state):
        with suppress(Exception):  # it is for other shapes of this network: what is amiss is said below
            state = adjust(dict(state), network)
    if differing := _differing(network, state):
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise ValueError(
            f"`{what}` does not hold weights of {name}: {'; '.join(differing[:3])}{more}; name the network "
            "and the image size that they were made for."
        )
    network.load_state_dict(state)


def _differing(network: nn.Module, state: Mapping[str, Any]) -> list[str]:
    wanted = {key: list(value.shape) for key, value in network.state_dict().items()}
    found = {key: list(getattr(value, "shape", ())) for key, value in state.items()}
    return [
        f"{key} is {found.get(key, 'absent')} in the file and {wanted.get(key, 'absent')} in the network"
        for key in dict.fromkeys([*wanted, *found])
        if found.get(key) != wanted.get(key)
    ]
