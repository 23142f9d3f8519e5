"""Export: verified, whole or absent, and rebuilt without Lightning."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from psst.backbones import Conv4
from psst.deploy import load_encoder
from psst.deploy.export import export_encoder, without_pretraining
from psst.fewshot import PrototypicalHead
from psst.tasks import Episodic, Rotation
from psst.training import FewShotModule

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
    images = torch.randint(256, (5, *SHAPE), dtype=torch.uint8)
    save_file({"images": images}, tmp_path / "images.safetensors")
    code = (
        "import sys\n"
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

    monkeypatch.setattr("psst.deploy.export.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        export_encoder(checkpoint, tmp_path / "encoder")
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


def test_an_export_that_differs_is_not_kept(checkpoint, tmp_path, monkeypatch):
    def rounded(state, path, metadata):
        save_file({key: (value * 1.001).to(value.dtype) for key, value in state.items()}, path, metadata)

    monkeypatch.setattr("psst.deploy.export.save_file", rounded)
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


def test_a_rebuilt_backbone_never_fetches_weights():
    description = {"class_path": "psst.backbones.Timm", "init_args": {"name": "resnet18", "pretrained": True}}
    assert without_pretraining(description)["init_args"] == {"name": "resnet18", "pretrained": False}
