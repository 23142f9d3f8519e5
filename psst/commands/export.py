"""``psst export``: a checkpoint's encoder for use without Lightning."""

from pathlib import Path

from psst.commands.arguments import command
from psst.configs import find

_TEXT = """\
Rebuild it anywhere with

  from psst.deploy import load_encoder
  features = load_encoder("encoder")(images)   # uint8 [n, C, H, W]; normalization is inside

README.md in the folder says how well it does and how to load it.

examples:
  psst export runs/quickstart/best.ckpt --output encoder
  psst export runs/quickstart/best.ckpt --output encoder --calibrate runs/quickstart/config.yaml
  psst export runs/quickstart/best.ckpt --output encoder --onnx       without torch: docs/deploy.md"""


@command(_TEXT)
def main(
    checkpoint: Path,
    *,
    output: Path,
    images: Path | None = None,
    calibrate: str | None = None,
    onnx: bool = False,
    torch_export: bool = False,
    overwrite: bool = False,
) -> str:
    """Write a checkpoint's encoder as model.safetensors and config.json, with a model card.

    Args:
        checkpoint: Of `psst search` or `psst fit`.
        output: Folder to make.
        images: Folder of images on which graphs are compared with the model; the data of the run if left out.
        calibrate: Config of the run; validation episodes of its data give the temperature of probabilities.
        onnx: Write encoder.onnx and classifier.onnx too.
        torch_export: Write encoder.pt2 and classifier.pt2 too, for torch.export.load.
        overwrite: Replace an earlier export.
    """
    from psst.deploy.export import Kind, export_encoder

    wanted: dict[Kind, bool] = {"onnx": onnx, "pt2": torch_export}
    kinds = [kind for kind, asked in wanted.items() if asked]
    if images is not None and not kinds:
        raise ValueError(
            f"`--images {images}` is for graphs; add `--onnx` or `--torch-export`, or leave it out."
        )
    if calibrate is not None:
        find(calibrate)  # before anything is written
    folder = export_encoder(checkpoint, output, overwrite, kinds, images)
    compared = " and graphs that compute the same on real images" if kinds else ""
    missing = [f"classifier.{kind}" for kind in kinds if not (folder / f"classifier.{kind}").is_file()]
    lines = [f"{folder}: exported, reloaded, same features{compared}"]
    lines += [f"no {name}: the head has no graph for any number of classes" for name in missing]
    if calibrate is not None:
        from psst.deploy.calibration import calibrate_export

        lines.append(calibrate_export(output, checkpoint, calibrate))
    return "\n".join(lines)
