"""Rebuilds the module of a checkpoint."""

from pathlib import Path

from psst.tasks.finished import read_checkpoint
from psst.training import FewShotModule


def load_module(path: Path) -> FewShotModule:
    """Rebuild the module of a checkpoint on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a checkpoint of a FewShotModule, or its parameters do not fit its description.
    """
    read_checkpoint(path)
    try:
        module = FewShotModule.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    except RuntimeError as error:
        raise ValueError(f"`{path}` does not hold the parameters it describes ({error}).") from error
    return module.eval()
