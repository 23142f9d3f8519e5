"""``psst export``: a checkpoint's encoder for use without Lightning."""

from pathlib import Path

from psst.commands.arguments import carry_out

_TEXT = """\
Rebuild it anywhere with

  from psst.deploy import load_encoder
  features = load_encoder("encoder")(images)   # uint8 [n, C, H, W]; normalization is inside

examples:
  psst export runs/quickstart/best.ckpt --output encoder
  psst export runs/quickstart/best.ckpt --output encoder --calibrate runs/quickstart/config.yaml"""


def main(words: list[str]) -> int:
    """Export one checkpoint."""
    return carry_out(_export, words, _TEXT, {"overwrite": "Replace an earlier export."})


def _export(checkpoint: Path, *, output: Path, calibrate: str | None = None, overwrite: bool = False) -> str:
    """Write a checkpoint's encoder as model.safetensors and config.json.

    Args:
        checkpoint: Of `psst search` or `psst fit`.
        output: Folder to make.
        calibrate: Config of the run; validation episodes of its data give the temperature of probabilities.
        overwrite: Replace an earlier export.
    """
    from psst.deploy.export import export_encoder

    told = f"{export_encoder(checkpoint, output, overwrite)}: exported, reloaded, same features"
    if calibrate is None:
        return told
    from psst.deploy.calibration import calibrate_export

    return f"{told}\n{calibrate_export(output, checkpoint, calibrate)}"
