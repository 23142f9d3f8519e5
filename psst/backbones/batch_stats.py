"""Which forward passes may change BatchNorm's running statistics."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Leave running statistics as they are; in training each batch is still normalized by its own.

    BatchNorm layers skip the update while their ``track_running_stats`` is off, and use the statistics of
    the batch because they are in training mode. In evaluation mode nothing changes.
    """
    norms = [norm for norm in _batch_norms(network) if norm.training and norm.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode, and give every layer its own mode back afterwards."""
    modes = [(layer, layer.training) for layer in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


def renew_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace running statistics by the plain average over some batches, which are inputs of the network.

    Needed after parameters were averaged: the average of two networks' statistics is not that of their
    average.
    """
    norms = [norm for norm in _batch_norms(network) if norm.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    with evaluating(network), torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the cumulative average
            norm.train()
        try:
            for batch in batches:
                network(batch)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum


def _batch_norms(network: nn.Module) -> list[_BatchNorm]:
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
