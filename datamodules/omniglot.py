"""Omniglot (Lake et al., Science 350, 2015): handwritten characters of fifty alphabets."""

from collections.abc import Sequence
from typing import Any

from psst.datamodules.episodic import EpisodicDataModule
from psst.images import Source
from psst.images.sources.omniglot import BACKGROUND_TEST, OmniglotSource, Protocol


class Omniglot(EpisodicDataModule):
    """Omniglot's background set, split by alphabet; validation and test episodes stay within one alphabet.

    * "minimal": the five alphabets of small1 train, Japanese (katakana) validates, Sanskrit and Tagalog test:
      images_background_small1.zip and images_background_small2.zip are enough.
    * "background": Vinyals' five validation alphabets (Armenian, Bengali, Early Aramaic, Hebrew, Mkhedruli)
      validate, `test_alphabets` test, all others train.

    Args:
        root: folder with the official archives as they are, extracted folders, or both.
        protocol: see above.
        test_alphabets: used by "background" only; by default Japanese (katakana), Sanskrit and Tagalog, which
            the minimal protocol does not train on either.
        size: side length in pixels; the drawings are 105 x 105.
        **shared: see `EpisodicDataModule`.
    """

    channels = 1

    def __init__(
        self,
        root: str,
        protocol: Protocol = "minimal",
        test_alphabets: Sequence[str] = BACKGROUND_TEST,
        size: int = 28,
        **shared: Any,
    ) -> None:
        super().__init__(size=size, **shared)
        self.root = root
        self.protocol = protocol
        self.test_alphabets = test_alphabets

    def source(self) -> Source:
        """Return the drawings below `root`."""
        return OmniglotSource(self.root, self.protocol, self.test_alphabets)
