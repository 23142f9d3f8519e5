import time

import pytest
import torch

from psst.backbones import Timm
from psst.components import describe

SMALL = "resnet10t"


def test_features_of_one_channel_images():
    backbone = Timm(SMALL)
    backbone.build((1, 28, 28))
    assert backbone(torch.rand(2, 1, 28, 28)).shape == (2, backbone.num_features) == (2, 512)


def test_timm_is_imported_only_when_built():
    import subprocess
    import sys

    code = "import sys; from psst.backbones import Timm; Timm('resnet10t'); sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_comes_with_close_ones():
    with pytest.raises(
        ValueError, match=r"`model.init_args.backbone.init_args.name=resnet19`.*did you mean .*resnet"
    ):
        Timm("resnet19").build((3, 32, 32))


def test_an_image_size_the_network_cannot_take_is_an_error_at_build():
    with pytest.raises(ValueError, match=r"does not accept images of shape \(3, 30, 30\)"):
        Timm("vit_tiny_patch16_224").build((3, 30, 30))


def test_options_reach_timm():
    backbone = Timm("vit_tiny_patch16_224", options={"img_size": 32, "depth": 1})
    backbone.build((3, 32, 32))
    assert backbone(torch.rand(2, 3, 32, 32)).shape == (2, 192)
    with pytest.raises(ValueError, match=r"options=\{'no_such': 1\}"):
        Timm("vit_tiny_patch16_224", options={"no_such": 1}).build((3, 32, 32))


@pytest.mark.parametrize("kind", ["plain", "wrapped", "safetensors"])
def test_weights_come_from_a_file_classifier_aside(tmp_path, kind):
    import timm
    from safetensors.torch import save_file

    trained = timm.create_model(SMALL, num_classes=3, in_chans=1)
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pth")
    if kind == "safetensors":
        save_file(trained.state_dict(), path)
    else:
        torch.save({"state_dict": trained.state_dict()} if kind == "wrapped" else trained.state_dict(), path)
    backbone = Timm(SMALL, checkpoint_path=str(path))
    backbone.build((1, 32, 32))
    state = trained.state_dict()
    for key, value in backbone.network.state_dict().items():
        assert torch.equal(value, state[key])
    assert describe(backbone)["init_args"]["checkpoint_path"] is None  # the file is not needed again


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not hold weights of resnet10t"):
        Timm(SMALL, checkpoint_path=str(tmp_path / "other.pth")).build((3, 32, 32))
    with pytest.raises(FileNotFoundError, match=r"`checkpoint_path=.*nowhere.pth`"):
        Timm(SMALL, checkpoint_path=str(tmp_path / "nowhere.pth")).build((3, 32, 32))
    with pytest.raises(ValueError, match="keep one"):
        Timm(SMALL, pretrained=True, checkpoint_path="x.pth")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A hub that does not answer; returns the folder of what was fetched before."""
    from huggingface_hub import constants

    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_published_weights_offline_are_refused_at_once_with_the_way_out(offline):
    begun = time.monotonic()
    with pytest.raises(ValueError, match=r"`.*name=resnet10t` .* it is offline: .*`checkpoint_path`"):
        Timm(SMALL, pretrained=True).build((3, 32, 32))
    assert time.monotonic() - begun < 20  # five tries of two files take 46


def test_published_weights_that_were_fetched_before_are_found_offline(offline):
    import timm
    from huggingface_hub import constants
    from safetensors.torch import save_file

    published = timm.get_pretrained_cfg(SMALL)
    trained, home = timm.create_model(SMALL), offline / f"models--{published.hf_hub_id.replace('/', '--')}"
    for folder in ("refs", "snapshots/one"):
        (home / folder).mkdir(parents=True)
    (home / "refs" / "main").write_text("one")
    save_file(trained.state_dict(), home / "snapshots" / "one" / "model.safetensors")
    before, backbone = constants.HF_HUB_OFFLINE, Timm(SMALL, pretrained=True)
    backbone.build((3, 32, 32))
    assert torch.equal(backbone.network.conv1[0].weight, trained.conv1[0].weight)
    assert before == constants.HF_HUB_OFFLINE
    assert describe(backbone)["init_args"]["pretrained"] is False  # whoever rebuilds it fetches nothing
