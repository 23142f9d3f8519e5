"""Graphs of an encoder, alone and with its head, which run without psst: ONNX, and torch's own .pt2."""

import logging
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from psst.backbones import Encoder
from psst.fewshot import Head
from psst.training import FewShotModule

__all__ = ["GRAPHS", "Kind", "require_packages", "write_graphs"]

Kind = Literal["onnx", "pt2"]
GRAPHS = ("encoder.onnx", "classifier.onnx", "encoder.pt2", "classifier.pt2")
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_TOLERANCE = 1e-4  # of the largest number: another runtime adds float32 numbers in another order
_CLASSES = 3
_Inputs = tuple[Tensor, ...]


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


def require_packages(kinds: Sequence[Kind]) -> None:
    """Raise ImportError, with the way out, where ONNX is wanted and its packages are missing."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if "onnx" in kinds and missing:
        raise ImportError(f"`--onnx` needs {', '.join(missing)}: pip install 'psst-fewshot[onnx]'.")


def write_graphs(module: FewShotModule, folder: Path, images: Tensor, kinds: Sequence[Kind]) -> None:
    """Write ``encoder`` and ``classifier`` as graphs with any number of images, each reloaded and compared.

    A head that cannot be written with any number of classes leaves the classifier out.

    Args:
        module: In evaluation mode, on the CPU.
        folder: Gets the files.
        images: ``[n, C, H, W]`` uint8, at least six, of the kind that it will see.
        kinds: Of files.

    Raises:
        RuntimeError: The encoder cannot be written, or a reloaded graph gives other numbers than the module.
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
    if not gap <= _TOLERANCE:
        raise RuntimeError(
            f"{path.name}, reloaded, differs by {gap:.2g} of the largest number, more than {_TOLERANCE:g}; "
            "nothing was written."
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
