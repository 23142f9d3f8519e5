"""Writes the encoder of a checkpoint as a folder of its own, verified before it appears.

Graphs of it, alone and with its head, run without psst: ONNX, and torch's own .pt2.
"""

import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from psst import __version__
from psst.backbones import Encoder
from psst.backbones.exported import CONFIG, WEIGHTS, load_encoder, write_encoder
from psst.datamodules import EpisodicDataModule
from psst.deploy.card import CARD, model_card, origin_of
from psst.deploy.classifier import image_files, require_new
from psst.fewshot import Head
from psst.files import atomic_folder, write_atomic
from psst.images.decode import decode_image
from psst.tasks.finished import read_checkpoint
from psst.training import FewShotModule
from psst.training.experiment import Experiment

_TOLERANCE = 1e-6  # relative to the largest feature; the same arithmetic, so only its order may differ
_GRAPH_TOLERANCE = 1e-4  # another runtime adds float32 numbers in another order
_PROBES = 4
Kind = Literal["onnx", "pt2"]
_GRAPHS = ("encoder.onnx", "classifier.onnx", "encoder.pt2", "classifier.pt2")
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_CLASSES = 3
_IMAGES, _LEAST = 12, 6
_WAY_OUT = "name a folder of such images with `--images DIR`"
_Inputs = tuple[Tensor, ...]


def load_module(path: Path) -> FewShotModule:
    """Rebuild the module of a checkpoint on the CPU, in evaluation mode; raises as `read_checkpoint` does.

    ValueError, too, if its parameters do not fit its description.
    """
    read_checkpoint(path)
    try:
        module = FewShotModule.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"`{path}` does not hold the model that it describes: {error}") from error
    return module.eval()


def export_encoder(
    checkpoint: str | Path,
    output: str | Path,
    overwrite: bool = False,
    graphs: Sequence[Kind] = (),
    images: Path | None = None,
) -> Path:
    """Write ``model.safetensors`` and ``config.json``, reload them, compare features, and add a card.

    Args:
        checkpoint: Checkpoint of a FewShotModule.
        output: Folder to make; it appears only when complete and verified.
        overwrite: Replace an earlier export there.
        graphs: Write ``encoder`` and ``classifier`` as ``onnx`` or ``pt2`` too.
        images: Folder of images to compare the graphs on; None for the data of the checkpoint's run.

    Returns:
        The folder; ``classifier`` is left out where the head has no graph for any number of classes.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        FileExistsError: ``output`` exists, and is no export or not to be replaced.
        ImportError: A package for `graphs` is missing.
        ValueError: The checkpoint is not one of a FewShotModule, or there are no images.
        RuntimeError: The reloaded encoder, or a graph, gives other numbers.
    """
    output, checkpoint = Path(output), Path(checkpoint)
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if "onnx" in graphs and missing:
        raise ImportError(f"`--onnx` needs {', '.join(missing)}: pip install 'psst-fewshot[onnx]'.")
    _refuse_existing(output, overwrite)
    module = load_module(checkpoint)
    config, metrics = origin_of(checkpoint)
    pictures = images_of(config, tuple(module.hparams["image_shape"]), images) if graphs else None
    with atomic_folder(output) as folder:
        write_encoder(module.encoder, folder, __version__)
        _verify(module, folder)
        if pictures is not None:
            write_graphs(module, folder, pictures, graphs)
        write_atomic(folder / CARD, model_card(module, config, metrics, folder, output.name))
    return output


def _refuse_existing(output: Path, overwrite: bool) -> None:
    ours = {CONFIG, WEIGHTS, CARD, *_GRAPHS}
    if not overwrite:
        require_new(output, "--output ", "name a new folder or add `--overwrite`")
    elif output.exists() and not (output.is_dir() and {path.name for path in output.iterdir()} <= ours):
        raise FileExistsError(f"`--output {output}` holds something other than an export and is left alone.")


@torch.no_grad()
def _verify(module: FewShotModule, folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (_PROBES, *module.hparams["image_shape"])
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    expected = module.embed(images)
    error = (load_encoder(folder)(images) - expected).abs().max()
    if not error <= _TOLERANCE * expected.abs().max():
        raise RuntimeError(f"the reloaded encoder's features differ by {error:.3g}; nothing was written.")


def images_of(config: Mapping[str, Any], shape: tuple[int, ...], folder: Path | None) -> Tensor:
    """Return up to twelve images ``[n, C, H, W]`` uint8 of a folder, or of the test classes of a run.

    ValueError if there are fewer than six of that shape, or the run or its data cannot be read.
    """
    if folder is not None:
        files = image_files(folder)[:_IMAGES]
        pixels = [decode_image(file.read_bytes(), str(file), shape[1], shape[0]) for file in files]
        images = np.ascontiguousarray(np.moveaxis(np.stack(pixels), -1, 1))
    elif config.get("data"):
        images = _test_images(config["data"])
    else:
        raise ValueError(f"no config.yaml of a run lies around the checkpoint; {_WAY_OUT}.")
    if images.shape[1:] != shape or len(images) < _LEAST:
        raise ValueError(
            f"graphs are compared on at least {_LEAST} images of {list(shape)}, found {len(images)} of "
            f"{list(images.shape[1:])}; {_WAY_OUT}."
        )
    return torch.from_numpy(images)


def _test_images(description: Mapping[str, Any]) -> Any:
    try:
        data = Experiment([f"--data={json.dumps(description)}"], needs_model=False).datamodule()
        assert isinstance(data, EpisodicDataModule)  # FewShotModule trains on no others
        data.prepare_data(check=False)
        store = data.open_store()
    except (OSError, ValueError) as error:
        raise ValueError(f"the data of the run cannot be read ({error}); {_WAY_OUT}.") from error
    ids = store.split_ids("test" if len(store.splits["test"]) else "train")
    return store.read(ids[np.linspace(0, len(ids) - 1, _IMAGES).astype(int)])


class _Classifier(nn.Module):
    """``support``, ``one_hot`` ``[s, N]`` and ``query`` to the head's logits ``[q, N]``."""

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, support: Tensor, one_hot: Tensor, query: Tensor) -> Tensor:
        labels = one_hot.argmax(dim=1)[None]
        parts = (self._read(support)[None], labels, self._read(query)[None])
        return cast(Tensor, self.head(*parts, one_hot.shape[1]))[0]

    def _read(self, images: Tensor) -> Tensor:
        if self.head.maps:
            return self.encoder.backbone.maps(self.encoder.normalized(images))
        return cast(Tensor, self.encoder(images))


def write_graphs(module: FewShotModule, folder: Path, images: Tensor, kinds: Sequence[Kind]) -> None:
    """Write ``encoder`` and ``classifier`` as graphs with any number of images, each reloaded and compared.

    A head that cannot be written with any number of classes leaves the classifier out. `images` are at least
    six of the kind that it will see, ``[n, C, H, W]`` uint8. RuntimeError if the encoder has no graph, or one
    that is reloaded gives other numbers than the module.
    """
    half = len(images) // 2
    labels = nn.functional.one_hot(torch.arange(half) % _CLASSES).float()
    traced = (images[:1].repeat(4, 1, 1, 1), torch.eye(2).repeat(2, 1), images[:3])
    asked = (images[:half], labels, images[half:])  # other numbers of everything
    for kind in kinds:
        error = _write(module.encoder, traced[:1], (images,), folder / f"encoder.{kind}")
        if error is not None:
            option = "--onnx" if kind == "onnx" else "--torch-export"
            name, reason = type(module.encoder.backbone).__name__, (str(error).splitlines() or [""])[0]
            raise RuntimeError(f"{name} has no such graph ({reason[:160]}); leave `{option}` out.") from error
        _write(_Classifier(module.encoder, module.head).eval(), traced, asked, folder / f"classifier.{kind}")


@torch.no_grad()
def _write(model: nn.Module, traced: _Inputs, asked: _Inputs, path: Path) -> Exception | None:
    """Make a graph from some inputs and compare it on others; return why there is none."""
    expected = model(*asked)
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)  # what counts is the comparison
    try:
        with warnings.catch_warnings(action="ignore"):
            shapes = tuple(dict.fromkeys(range(2 if x.ndim == 2 else 1), Dim.DYNAMIC) for x in traced)
            program = torch.export.export(model, traced, dynamic_shapes=shapes)
            found = (_onnx if path.suffix == ".onnx" else _pt2)(program, path)(asked)
    except Exception as error:  # exporters raise whatever they meet
        path.unlink(missing_ok=True)
        return error
    finally:
        logging.disable(level)
    gap = (found - expected).abs().max() / expected.abs().max()
    if not gap <= _GRAPH_TOLERANCE:
        raise RuntimeError(
            f"{path.name}, reloaded, differs by {gap:.2g} of the largest number, more than "
            f"{_GRAPH_TOLERANCE:g}; nothing was written."
        )
    return None


def _pt2(program: ExportedProgram, path: Path) -> Callable[[_Inputs], Tensor]:
    torch.export.save(program, path)
    reloaded = torch.export.load(path).module()
    return lambda asked: cast(Tensor, reloaded(*asked))


def _onnx(program: ExportedProgram, path: Path) -> Callable[[_Inputs], Tensor]:
    import onnxruntime

    output = "logits" if path.stem == "classifier" else "features"
    made: Any = torch.onnx.export(program, output_names=[output], dynamo=True, verbose=False)
    made.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda asked: torch.from_numpy(
        session.run(None, {name: part.numpy() for name, part in zip(names, asked, strict=True)})[0]
    )
