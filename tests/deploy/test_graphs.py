"""Graphs that run without psst: the same numbers on real images, any number of them, or no file at all."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from psst.backbones import Adapted, Backbone, Conv4
from psst.cli import main
from psst.deploy import FewShotClassifier, load_encoder
from psst.deploy.export import export_encoder, images_of, load_module, write_graphs
from psst.fewshot import PrototypicalHead, RidgeHead
from psst.tasks import Episodic
from psst.training import FewShotModule
from tests.deploy.test_classifier import COLORS, picture
from tests.deploy.test_export import save_checkpoint
from tests.search.small import birds

SIDE = 24
TOLERANCE = 1e-4  # of the largest number: float32 sums in another order


class Steps(Backbone):
    """As many layers as an image is bright: no graph."""

    def make(self, image_shape):
        self.layer = torch.nn.Linear(image_shape[0], 4)
        return 4

    def forward(self, images):
        return self.layer(images.mean((2, 3))) if images.sum() > 0 else images.mean((2, 3)).repeat(1, 4)


class Other(Steps):
    """Another function in its graph than outside."""

    def forward(self, images):
        return self.layer(images.mean((2, 3))) * (1.001 if torch.compiler.is_compiling() else 1.0)


def checkpoint_of(backbone, path, head=None, shape=(3, SIDE, SIDE)):
    torch.manual_seed(0)
    module = FewShotModule(backbone, Episodic(head or PrototypicalHead()), image_shape=shape)
    module.encoder.normalize_by([0.4] * shape[0], [0.3] * shape[0])
    save_checkpoint(module.eval(), path)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which the command has exported all graphs, beside examples and new pictures."""
    root, rng = tmp_path_factory.mktemp("graphs"), np.random.default_rng(0)
    for name, color in COLORS.items():
        for folder, count in ((root / "examples" / name, 3), (root / "new", 2)):
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                picture(color, rng, SIDE + 9 * number).resize((SIDE + 8, SIDE)).save(
                    folder / f"{name}{number}.png"
                )
    checkpoint = checkpoint_of(Conv4(hidden=8), root / "model.ckpt")
    words = ["export", str(checkpoint), "--output", str(root / "encoder"), "--images", str(root / "examples")]
    assert main([*words, "--onnx", "--torch-export"]) == 0
    return root


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_the_graphs_give_what_the_module_gives_for_any_number_of_images_and_classes(place):
    module, names = load_module(place / "model.ckpt"), {path.name for path in (place / "encoder").iterdir()}
    assert names == {
        *("model.safetensors", "config.json", "README.md"),
        *("encoder.onnx", "classifier.onnx", "encoder.pt2", "classifier.pt2"),
    }
    images = torch.randint(256, (70, 3, SIDE, SIDE), dtype=torch.uint8)
    for count in (1, 70):
        expected = load_encoder(place / "encoder")(images[:count]).detach()
        (found,) = session(place / "encoder/encoder.onnx").run(None, {"images": images[:count].numpy()})
        np.testing.assert_allclose(found, expected, atol=TOLERANCE * float(expected.abs().max()))
        again = torch.export.load(place / "encoder/encoder.pt2").module()(images[:count])
        torch.testing.assert_close(again, expected, atol=TOLERANCE * float(expected.abs().max()), rtol=0)
    for classes, shots, queries in ((2, 1, 1), (5, 3, 11)):
        labels = torch.arange(classes).repeat(shots)
        support, query = images[: classes * shots], images[-queries:]
        expected = module.head(module.embed(support)[None], labels[None], module.embed(query)[None], classes)[
            0
        ]
        one_hot = torch.nn.functional.one_hot(labels).float()
        inputs = {"support": support.numpy(), "one_hot": one_hot.numpy(), "query": query.numpy()}
        (found,) = session(place / "encoder/classifier.onnx").run(None, inputs)
        np.testing.assert_allclose(found, expected, atol=TOLERANCE * float(expected.abs().max()))
        again = torch.export.load(place / "encoder/classifier.pt2").module()(support, one_hot, query)
        torch.testing.assert_close(again, expected, atol=TOLERANCE * float(expected.abs().max()), rtol=0)


def test_the_example_of_the_docs_classifies_without_torch(place):
    page = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 15
    words = [sys.executable, "-c", f"import sys; sys.modules['torch'] = None\n{code}"]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=True)
    classifier = FewShotClassifier(place / "encoder", PrototypicalHead()).fit(place / "examples")
    assert done.stdout.split() == classifier.predict(place / "new").tolist()
    assert set(done.stdout.split()) == set(COLORS)


def test_a_graph_that_computes_something_else_is_not_kept(place, tmp_path):
    checkpoint = checkpoint_of(Other(), tmp_path / "model.ckpt")
    with pytest.raises(RuntimeError, match=r"encoder.pt2, reloaded, differs by 0.001 .* nothing was written"):
        export_encoder(checkpoint, tmp_path / "encoder", graphs=["pt2"], images=place / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


def test_an_encoder_without_a_graph_is_refused_by_name(place, tmp_path):
    checkpoint = checkpoint_of(Steps(), tmp_path / "model.ckpt")
    with pytest.raises(RuntimeError, match=r"Steps has no such graph .* leave `--torch-export` out"):
        export_encoder(checkpoint, tmp_path / "encoder", graphs=["pt2"], images=place / "new")


def test_a_head_without_a_graph_leaves_the_encoder_alone(place, tmp_path, capsys):
    checkpoint = checkpoint_of(Conv4(hidden=4), tmp_path / "model.ckpt", RidgeHead())
    words = ["export", str(checkpoint), "--output", str(tmp_path / "encoder"), "--torch-export"]
    assert main([*words, "--images", str(place / "new")]) == 0
    assert "no classifier.pt2: the head has no graph" in capsys.readouterr().out
    assert (tmp_path / "encoder" / "encoder.pt2").is_file()


def test_without_its_packages_onnx_is_refused_in_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert main(["export", str(tmp_path / "no.ckpt"), "--output", str(tmp_path / "encoder"), "--onnx"]) == 2
    said = capsys.readouterr().err
    assert said == "psst: error: `--onnx` needs onnxscript: pip install 'psst-fewshot[onnx]'.\n"
    assert not list(tmp_path.iterdir())


def test_images_are_those_of_the_run_or_of_a_folder(tmp_path):
    data = {
        "class_path": "psst.datamodules.ImageFolder",
        "init_args": {
            "root": str(birds(tmp_path, train=3, val=2, test=2)),
            "size": 16,
            "channels": 1,
            "cache_dir": str(tmp_path / "cache"),
        },
    }
    images = images_of({"data": data}, (1, 16, 16), None)
    assert images.shape == (12, 1, 16, 16)
    shades = {40 * number + 10 * shade for number in (0, 1) for shade in range(4)}
    assert {int(image[0, 0, 0]) for image in images} == shades  # the test classes
    with pytest.raises(ValueError, match=r"images of \[3, 8, 8\], found 12 of \[1, 16, 16\].*--images DIR"):
        images_of({"data": data}, (3, 8, 8), None)
    with pytest.raises(ValueError, match=r"no config.yaml of a run .*--images DIR"):
        images_of({}, (1, 16, 16), None)
    data["init_args"]["root"] = str(tmp_path / "moved")
    data["init_args"]["cache_dir"] = str(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"data of the run cannot be read .*moved.*--images DIR"):
        images_of({"data": data}, (1, 16, 16), None)
    Image.new("L", (9, 9)).save(tmp_path / "one.png")
    with pytest.raises(ValueError, match=r"at least 6 images .*found 1"):
        images_of({}, (1, 16, 16), tmp_path / "one.png")


@pytest.mark.slow  # half a minute: a network of fifty convolutions
def test_an_adapter_on_a_pretrained_encoder_has_graphs_for_more_images_than_it_takes_at_once(tmp_path):
    module = load_module(checkpoint_of(Adapted("efficientnet-lite0", input_size=64), tmp_path / "model.ckpt"))
    images = torch.randint(256, (150, 3, SIDE, SIDE), dtype=torch.uint8)
    write_graphs(module, tmp_path, images, ["onnx", "pt2"])  # which compares
    assert len([*tmp_path.glob("*.onnx"), *tmp_path.glob("*.pt2")]) == 4
