"""Writes the encoder of a checkpoint as a folder of its own, verified before it appears."""

from collections.abc import Sequence
from pathlib import Path

import torch

from psst import __version__
from psst.backbones.exported import CONFIG, WEIGHTS, load_encoder, write_encoder
from psst.deploy.card import CARD, model_card
from psst.deploy.classifier import require_new
from psst.deploy.graphs import GRAPHS, Kind, require_packages, write_graphs
from psst.deploy.origin import images_of, origin_of
from psst.files import atomic_folder, write_atomic
from psst.tasks.finished import read_checkpoint
from psst.training import FewShotModule

_TOLERANCE = 1e-6  # relative to the largest feature; the same arithmetic, so only its order may differ
_PROBES = 4


def load_module(path: Path) -> FewShotModule:
    """Rebuild the module of a checkpoint on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a checkpoint of a FewShotModule, or its parameters do not fit its description.
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
    require_packages(graphs)
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
    ours = {CONFIG, WEIGHTS, CARD, *GRAPHS}
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
