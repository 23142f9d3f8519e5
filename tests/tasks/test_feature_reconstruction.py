import pytest
import torch
from torch.nn import functional as F

from psst.backbones import Conv4
from psst.tasks import Encode, FeatureReconstruction
from tests import laws
from tests.tasks.batches import CLASSES, SIDE, built, make_batch


@pytest.fixture
def setup():
    torch.manual_seed(0)
    setup = laws.setup_for(laws.Adapter(), (1, SIDE, SIDE), CLASSES)
    torch.nn.init.zeros_(setup.encoder.backbone.layer.weight)
    torch.nn.init.zeros_(setup.encoder.backbone.layer.bias)
    return setup


def decoded_by_identity(task, setup, batch):
    """The decoder gives what the adapter gives, taken from the batch's mean frozen feature."""
    mean = Encode(setup.encoder, (0,)).frozen(batch).mean(0)
    with torch.no_grad():
        task.decoder.weight.copy_(torch.eye(12))
        task.decoder.bias.copy_(-mean)
    return task


def test_what_is_not_spoilt_is_reconstructed_and_noise_and_mask_take_their_share(setup):
    batch = make_batch()
    losses = [
        float(
            laws.loss_of(
                decoded_by_identity(built(FeatureReconstruction(*options), setup), setup, batch), setup, batch
            )
        )
        for options in ((0.0, 0.0), (0.1, 0.0), (0.0, 0.5), (1.0, 0.5))
    ]
    assert abs(losses[0]) < 1e-5  # float32 features of length 10
    assert losses[0] < losses[1] < losses[2] < losses[3] < 1
    # a vector of unit variance with noise 0.1 has the cosine 1 / sqrt(1.01)
    assert losses[1] == pytest.approx(1 - 1.01**-0.5, rel=0.3)


def test_the_wanted_feature_gets_no_gradient_and_knowing_nothing_costs_one(setup):
    task, batch = built(FeatureReconstruction(), setup), make_batch()
    loss = laws.loss_of(task, setup, batch)
    laws.assert_gradient_reaches(loss, [*setup.encoder.backbone.parameters(), *task.parameters()])
    wanted = Encode(setup.encoder, (0,)).frozen(batch)
    constant = F.cosine_similarity(torch.ones(12), wanted - wanted.mean(0), dim=1)
    assert float(1 - constant.mean()) == pytest.approx(1, abs=0.2)


def test_refusals():
    for options, words in (({"noise": -1}, "`noise=-1`"), ({"mask": 1.0}, "`mask=1.0`")):
        with pytest.raises(ValueError, match=words):
            FeatureReconstruction(**options)
    with pytest.raises(
        TypeError, match="`feature_reconstruction` needs a backbone with a frozen part, Conv4"
    ):
        FeatureReconstruction().build(laws.setup_for(Conv4(hidden=4), (1, SIDE, SIDE), CLASSES))
