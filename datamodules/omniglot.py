"""Omniglot (Lake et al., Science 350, 2015): handwritten characters of fifty alphabets."""

from collections.abc import Sequence
from typing import Any

from psst.datamodules.episodic import EpisodicDataModule
from psst.images import Source
from psst.images.files.download import RemoteFile
from psst.images.sources.omniglot import OmniglotSource, Rotations, Within
from psst.images.sources.omniglot_files import BACKGROUND, EVALUATION, MANUAL, remote_files
from psst.images.sources.omniglot_splits import BACKGROUND_TEST, Protocol


class Omniglot(EpisodicDataModule):
    """Omniglot in one of four protocols; the archives are read as they are.

    * "minimal": the five alphabets of small1 train, Japanese (katakana) validates, Sanskrit and Tagalog test:
      images_background_small1.zip and images_background_small2.zip are enough.
    * "background": Vinyals' five validation alphabets (Armenian, Bengali, Early Aramaic, Hebrew, Mkhedruli)
      validate, `test_alphabets` test, all other background alphabets train.
    * "vinyals": 1028/172/423 characters of Vinyals et al. (2016), in the lists of Snell et al. (2017); needs
      images_evaluation.zip too. Eight evaluation alphabets train, so the official one-shot runs are no test
      of these models. Published accuracies take `rotations: all` and `eval_within: split`.
    * "official": the twenty evaluation alphabets (659 characters) test. Of the thirty background alphabets
      Vinyals' five validate (172 characters) and 25 train (792): the published split has no validation set.

    The characters of Gurmukhi train and test under "vinyals", 41 and 4 of them; under the other protocols no
    alphabet is in two splits.

    Args:
        root: folder with the official archives as they are, torchvision's ``omniglot-py``, other folders with
            ``Alphabet/characterNN/*.png`` in them, or any mixture.
        protocol: see above.
        test_alphabets: used by "background" only; by default Japanese (katakana), Sanskrit and Tagalog, which
            the minimal protocol does not train on either.
        rotations: splits in which every character turned by 0, 90, 180 and 270 degrees counts as four
            classes, named ``Alphabet/characterNN/rot090``: "none" of them, "train", or "all", as Snell et al.
            did.
        train_within: "split" draws training episodes from all alphabets, "alphabet" each from one of them,
            every alphabet as often as the others; one with fewer than `episodes.way` gives all it has.
        eval_within: the same for validation and test; "alphabet", which is harder, reports every alphabet.
        size: side length in pixels; the drawings are 105 x 105.
        **shared: see `EpisodicDataModule`.

    Raises:
        ValueError: an option has no such value.
    """

    channels = 1
    remote: tuple[RemoteFile, ...] = (BACKGROUND, EVALUATION)
    manual: str = MANUAL

    def __init__(
        self,
        root: str,
        protocol: Protocol = "minimal",
        test_alphabets: Sequence[str] = BACKGROUND_TEST,
        rotations: Rotations = "none",
        train_within: Within = "split",
        eval_within: Within = "alphabet",
        size: int = 28,
        **shared: Any,
    ) -> None:
        super().__init__(size=size, **shared)
        self.root = root
        self.protocol = protocol
        self._source = OmniglotSource(root, protocol, test_alphabets, rotations, train_within, eval_within)
        self.remote = remote_files(protocol)  # what this protocol needs, not all of it

    def source(self) -> Source:
        """Return the drawings below `root`."""
        return self._source
