"""Convolutions that take over what the BatchNorm behind them would do."""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_TOLERANCE = 1e-4  # of the length of a feature vector: rounding in another order


@torch.no_grad()
def fused(network: nn.Module, images: Tensor) -> nn.Module:
    """Return a copy in which BatchNorm is folded into the convolution before it: the same function, faster.

    A layer is taken to follow the one that its parent holds before it; a network in which that is not so, as
    its features of `images` ``[n, C, H, W]`` tell, is returned as it is. It is in evaluation mode, and not
    changed.
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
