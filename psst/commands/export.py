"""``psst export``: a checkpoint's encoder for use without Lightning."""

import sys
from pathlib import Path

from psst.commands.arguments import command_parser
from psst.commands.quiet import quiet

_TEXT = """\
Rebuild it anywhere with

  from psst.deploy import load_encoder
  features = load_encoder("encoder")(images)   # uint8 [n, C, H, W]; normalization is inside

example: psst export runs/quickstart/best.ckpt --output encoder"""


def main(words: list[str]) -> int:
    """Export one checkpoint."""
    summary = "Write a checkpoint's encoder as model.safetensors and config.json."
    parser = command_parser("export", summary, _TEXT)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="of `psst search` or `psst fit`")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in DIR")
    options = parser.parse_args(words[1:])
    quiet()
    from psst.deploy.export import export_encoder

    folder = export_encoder(options.checkpoint, options.output, options.overwrite)
    sys.stdout.write(f"{folder}: exported, reloaded, same features\n")
    return 0
