"""Glyphs: an embedded data set, so that everything can be tried without a download."""

from typing import Any

from psst.datamodules.episodic import EpisodicDataModule
from psst.images import Source
from psst.images.sources.glyphs import GlyphSource


class Glyphs(EpisodicDataModule):
    """Letters of matplotlib's DejaVu typefaces: Latin trains, Cyrillic validates, three scripts test.

    The scripts of the test split (Greek, Armenian, Georgian) are pooled: episodes mix them.

    Args:
        drawings: drawings of a class per typeface, 12 typefaces.
        size: side length in pixels.
        **shared: see `EpisodicDataModule`.
    """

    channels = 1

    def __init__(self, drawings: int = 2, size: int = 28, **shared: Any) -> None:
        super().__init__(size=size, **shared)
        self.drawings = drawings

    def source(self) -> Source:
        """Return the letters."""
        return GlyphSource(self.drawings)
