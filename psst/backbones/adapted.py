"""A frozen pretrained encoder and the small adapter that is trained behind it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psst.backbones.backbone import Backbone
from psst.backbones.pretrained import Frozen, find_frozen

_LEAST_SIDE = 8  # smaller pictures, enlarged to an encoder's input, show it nothing


class Adapted(Backbone):
    r"""A residual adapter on the features of a pretrained encoder that is never trained.

    With :math:`u = s (f - c) / \lVert f - c \rVert` of a frozen feature f, its mean c over the training
    classes and the `scale` s, a block adds :math:`W_2 \max(0, W_1 u + b_1) + b_2`, and :math:`W_2` and
    :math:`b_2` start at zero, so that training starts at the frozen features. Images are resized to what the
    weights were made for and normalized by their statistics; gray ones are repeated over three channels.

    The frozen network is made once a process and is no part of the parameters: a checkpoint holds the
    adapter, the center and the SHA-256 of the frozen weights, and is refused with others.

    Args:
        encoder: ``efficientnet-lite0`` (ImageNet weights, 18 MB, of the extra ``pretrained``),
            ``timm:NAME`` (timm's published weights, a download), ``NAME@FILE`` (a network of timm and a file
            of its weights), or a folder that ``psst export`` wrote.
        input_size: Side of the images that the encoder reads; None takes that of its weights.
        pooling: ``mean`` of a transformer's patches or a convolutional network's own pooling; ``cls``, the
            class token; ``both``, concatenated.
        width: Units within a block.
        depth: Number of blocks.
        dropout: Share of these units that is dropped in training.
        scale: Length s of a centered feature.

    Attributes:
        num_frozen: D', length of a frozen feature; also that of an adapted one.
        source: The frozen network; None before `build`.

    Raises:
        ValueError: An argument lies outside its range.

    Example:
        >>> backbone = Adapted("efficientnet-lite0", input_size=96)
        >>> backbone.build((3, 64, 64))
        >>> backbone(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 1280])

    References:
        Houlsby et al., Parameter-Efficient Transfer Learning for NLP, 2019 (arXiv:1902.00751), for residual
        adapters. Departure: behind the network, not within it, so that its features can be cached.
    """

    center: Tensor
    frozen_sha256: Tensor

    def __init__(
        self,
        encoder: str,
        input_size: int | None = None,
        pooling: Literal["cls", "mean", "both"] = "mean",
        width: int = 256,
        depth: int = 1,
        dropout: float = 0.0,
        scale: float = 10.0,
    ) -> None:
        super().__init__()
        if pooling not in ("cls", "mean", "both"):
            raise ValueError(f"`pooling={pooling}` must be `cls`, `mean` or `both`.")
        if min(width, depth) < 1 or scale <= 0 or not 0 <= dropout < 1:
            raise ValueError(
                f"`width={width}` and `depth={depth}` must be at least 1, `scale={scale}` above 0, and "
                f"`dropout={dropout}` in [0, 1)."
            )
        self.encoder, self.input_size, self.pooling = encoder, input_size, pooling
        self.width, self.depth, self.dropout, self.scale = width, depth, dropout, scale
        self.num_frozen = 0
        self.source: Frozen | None = None
        self._centered = False  # whether the center belongs to the parameters
        self.register_load_state_dict_pre_hook(_check_frozen)  # type: ignore[no-untyped-call]  # untyped in torch
        self.register_load_state_dict_post_hook(_keep_center)  # type: ignore[no-untyped-call]  # as above

    @property
    def key(self) -> str:
        """Text that identifies frozen weights and what they read; known once built."""
        return self._source().key

    def make(self, image_shape: tuple[int, int, int]) -> int:
        """Find the frozen network, which raises as `find_frozen` does, and make the adapter.

        ValueError if the weights do not suit the images.
        """
        source = self.source or find_frozen(self.encoder, self.input_size, self.pooling)
        if image_shape[0] not in (1, source.channels):
            raise ValueError(
                f"`encoder={self.encoder}` reads {source.channels} channels, the images have "
                f"{image_shape[0]}; give images of 1 or {source.channels}, or choose another encoder."
            )
        if min(image_shape[1:]) < _LEAST_SIDE:
            raise ValueError(
                f"`encoder={self.encoder}` needs images of at least {_LEAST_SIDE} x {_LEAST_SIDE} pixels, "
                f"got {image_shape[1]} x {image_shape[2]}; raise `data.init_args.size`."
            )
        self.source = source
        self.num_frozen = n = source.num_features
        self.blocks = nn.ModuleList(_Block(n, self.width, self.dropout) for _ in range(self.depth))
        self.register_buffer("center", torch.zeros(n))
        self.register_buffer("frozen_sha256", torch.tensor(list(bytes.fromhex(source.sha256))).byte())
        return n

    def statistics(self) -> tuple[Sequence[float], Sequence[float]]:
        """Return mean and standard deviation of the channels as the frozen weights want them."""
        recipe = self._source().recipe
        return recipe["mean"], recipe["std"]

    def center_on(self, mean: Tensor) -> None:
        """Take the mean ``[D']`` of frozen features, unless one was taken or loaded before."""
        if not self._centered:
            self.center.copy_(mean)
            self._centered = True

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``[n, D]`` of normalized images ``[n, C, H, W]``."""
        return self.adapted(self.frozen(images))

    def frozen(self, images: Tensor) -> Tensor:
        """Return frozen features ``[n, D']`` of normalized images, without gradients."""
        return self._source()(images)

    def adapted(self, frozen: Tensor) -> Tensor:
        """Return features ``[n, D']`` of frozen ones."""
        x = self.scale * F.normalize(frozen.to(self.center.dtype) - self.center, dim=1)
        for block in self.blocks:
            x = block(x)
        return x

    def _source(self) -> Frozen:
        if self.source is None:
            raise RuntimeError("`Adapted` has no frozen network before `build((C, H, W))`; call it first.")
        return self.source


class _Block(nn.Module):
    def __init__(self, n_features: int, width: int, dropout: float) -> None:
        super().__init__()
        self.reduce = nn.Linear(n_features, width)
        self.dropout = nn.Dropout(dropout)
        self.expand = nn.Linear(width, n_features)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.expand(self.dropout(F.relu(self.reduce(x))))
        return x + added


def _check_frozen(backbone: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    """Refuse parameters that were trained on other frozen weights."""
    stored, own = state.get(f"{prefix}frozen_sha256"), getattr(backbone, "frozen_sha256", None)
    if stored is not None and own is not None and not torch.equal(stored.cpu(), own.cpu()):
        before, now = (bytes(digest.tolist()).hex()[:12] for digest in (stored, own))
        raise ValueError(
            f"the parameters were trained on frozen weights with SHA-256 {before}..., "
            f"`encoder={getattr(backbone, 'encoder', '')}` has {now}...; give the weights that they were "
            "trained on."
        )


def _keep_center(backbone: nn.Module, _: object) -> None:
    """Once parameters are loaded, the center that came with them belongs to them."""
    if isinstance(backbone, Adapted) and backbone.source is not None:
        backbone._centered = True
