"""``psst adapt``: from a folder of labeled images to a classifier."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from psst.commands.arguments import carry_out

if TYPE_CHECKING:
    from psst.deploy.adapt import Adaptation

_TEXT = """\
FOLDER holds a folder a class, each with at least 3 images; twenty or thirty are a good start.

examples:
  psst adapt photos --encoder efficientnet-lite0
  psst adapt photos --encoder encoder --pattern '(.*)_' --output classifier"""


def main(words: list[str]) -> int:
    """Adapt to one folder."""
    return carry_out(_adapt, words, _TEXT)


def _adapt(
    folder: Path,
    *,
    encoder: str,
    output: Path = Path("classifier"),
    pattern: str | None = None,
    level: int | None = None,
    cache: Path = Path(".psst"),
    seed: int = 0,
) -> str:
    """Choose and train a classifier of the classes in a folder, on the features of a frozen encoder.

    Args:
        folder: With a folder a class.
        encoder: efficientnet-lite0, timm:NAME, NAME@FILE, or a folder that `psst export` wrote.
        output: Folder to make, for `psst classify`.
        pattern: Regular expression on the path whose first group names images that show the same thing.
        level: Folder that names them, 1 for the one that the image lies in.
        cache: Folder of decoded images and features.
        seed: Of the parts that are left out.
    """
    from psst.deploy.adapt import adapt
    from psst.deploy.classifier import require_new
    from psst.images.sources.groups import ImageGroups

    require_new(output)
    begun = time.monotonic()
    with _as_typed():
        groups = None if pattern is None and level is None else ImageGroups(pattern=pattern, level=level)
        found = adapt(folder, encoder, groups, cache, seed)
    found.classifier.save(output)
    return _told(found, output, time.monotonic() - begun)


@contextmanager
def _as_typed() -> Iterator[None]:
    """Name arguments as they are typed here, not as those of a data module."""
    try:
        yield
    except (OSError, ValueError) as error:
        text = str(error).replace("data.init_args.root", "folder").replace("data.init_args.groups.", "--")
        text = text.replace("data.init_args.groups", "--pattern and --level")
        raise type(error)(text.replace("data.init_args.cache_dir", "--cache")) from error


def _told(found: "Adaptation", output: Path, seconds: float) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    choice, total = found.choice, sum(found.images.values())
    table = Table("head", Column("left out", justify="right"), "", box=SIMPLE_HEAD)
    for name, share in choice.candidates.items():
        table.add_row(name, str(share), "chosen" if name == choice.name else "")
    text = io.StringIO()
    Console(file=text, width=100).print(table)
    alike = "" if found.groups == total else f" in {found.groups} groups"
    return "\n".join(
        [
            f"Expect {choice.nested} of new images to be told right: choosing a head and training it, on "
            "images left out of both.",
            f"{total} images{alike} of {len(found.images)} classes; {choice.name} was trained on them all.",
            text.getvalue().rstrip(),
            "",
            f"Intervals: Wilson's, 95 %, over {'images' if not alike else 'groups'}; the best of a column "
            "flatters, the first line does not.",
            f"{output}: written in {seconds:.0f} s. Next: psst classify {output} NEW_IMAGES",
        ]
    )
