import pytest
import torch
from torch import nn

from psst.backbones.batch_stats import evaluating, frozen_statistics, renew_statistics


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))


def buffers(network):
    return [buffer.clone() for buffer in network.buffers()]


def test_frozen_statistics_keep_buffers_and_normalize_by_the_batch(network):
    inputs = torch.randn(8, 3)
    torch.manual_seed(1)
    expected = network(inputs)
    before = buffers(network)
    with frozen_statistics(network):
        torch.manual_seed(1)
        assert torch.equal(network(inputs), expected)
    assert all(map(torch.equal, before, network.buffers()))
    network(inputs)
    assert not torch.equal(before[0], network[1].running_mean)


def test_frozen_statistics_change_nothing_in_evaluation(network):
    network.eval()
    inputs = torch.randn(8, 3)
    with frozen_statistics(network):
        torch.testing.assert_close(network(inputs)[:1], network(inputs[:1]))


def test_evaluating_gives_each_layer_its_own_mode_back(network):
    network[1].eval()
    with evaluating(network):
        assert not any(layer.training for layer in network.modules())
    assert [layer.training for layer in network] == [True, False, True]
    assert network.training


def test_renewed_statistics_are_the_average_over_the_batches(network):
    batches = [torch.randn(16, 3) + shift for shift in range(3)]
    network(torch.randn(8, 3) + 100)  # whatever was there is forgotten
    renew_statistics(network, batches)
    hidden = torch.stack([network[0](batch) for batch in batches])
    torch.testing.assert_close(network[1].running_mean, hidden.mean(dim=(0, 1)))
    torch.testing.assert_close(network[1].running_var, hidden.var(dim=1).mean(dim=0))
    assert network[1].momentum == 0.1
    assert network[1].training
