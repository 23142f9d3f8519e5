"""What every task offers, main and auxiliary alike, and how it gets features: each view once."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from psst.backbones import Encoder, Setup
from psst.backbones.batch_stats import evaluating, frozen_statistics
from psst.episodes import Batch
from psst.fewshot import Head
from psst.images.view import View
from psst.randomness import stream_key

MAIN = "main"


class Encode:
    """Gives the tasks of one step the features of a batch.

    The main task comes first, and a view that it has encoded is not encoded again: not for some of its rows,
    and not for maps where it took vectors. Auxiliary tasks share a forward pass where they ask for the very
    same views of the same rows. So the loss of a task depends on the batch and its own draws, never on which
    other auxiliary tasks there are or who of them asked first. Views that are asked for together are one
    forward pass and share the statistics of BatchNorm.

    Dropout draws from a generator keyed by the batch and the views, not by the order of calls.

    Args:
        encoder: Normalizes and encodes.
        key: Of the step's randomness, such as (seed, split, index).
        with_maps: Whether some task reads feature maps.
        shared_statistics: Whether passes of auxiliary tasks update BatchNorm's running statistics too.
        teacher: Evaluation mode and no gradients.

    Example:
        >>> encode = Encode(encoder, key=(0, "train", 7))
        >>> features = encode(batch)  # [n, D] of what the main task sees
        >>> first, second = encode(batch, View(crop=1), View(crop=2))  # one forward pass
    """

    def __init__(
        self,
        encoder: Encoder,
        key: Sequence[int | str],
        with_maps: bool = False,
        shared_statistics: bool = False,
        teacher: bool = False,
    ) -> None:
        self.encoder, self.with_maps, self.teacher = encoder, with_maps, teacher
        self._shared_statistics, self._key = shared_statistics, tuple(key)
        self._task, self._pictures = MAIN, 0
        self._by_main: dict[View, tuple[Tensor, Tensor]] = {}  # see `_found`
        self._by_others: dict[tuple[tuple[View, ...], bytes], list[Tensor]] = {}

    def begin(self, task: str) -> None:
        """Say whose turn it is; the main task's comes first."""
        self._task, self._pictures = task, 0

    def __call__(self, batch: Batch, *views: View, maps: bool = False) -> Tensor:
        """Return the features of some views of a batch.

        Args:
            batch: A whole batch, or rows of it.
            views: `View()` by default.
            maps: Feature maps in place of vectors; the task says ``maps = True`` of itself.

        Returns:
            ``[n, D]`` or ``[n, C', h, w]``; of several views ``[views, n, ...]``.

        Raises:
            RuntimeError: Maps are asked for, and no task has said that it reads them.
        """
        resolved = tuple(batch.policies.resolved(view) for view in views or (View(),))
        outs = [self._read(out, maps) for out in self._encoded(batch, resolved)]
        return torch.stack(outs) if len(views) > 1 else outs[0]

    def images(self, pictures: Tensor, *, maps: bool = False) -> Tensor:
        """Return the features of pictures that a task made itself, such as patches.

        Args:
            pictures: ``[n, C, H', W']`` in [0, 1], not normalized.
            maps: Feature maps in place of vectors.

        Raises:
            ValueError: The backbone gives vectors of another length for pictures of this size.
        """
        self._pictures += 1
        out = self._forward(self.encoder.normalized(pictures), f"{self._task} {self._pictures}")
        read = self._read(out, maps)
        if not maps and read.shape[1] != self.encoder.num_features:
            raise ValueError(
                f"pictures of {list(pictures.shape[1:])} give {read.shape[1]} features, images of "
                f"{list(self.encoder.image_shape or ())} {self.encoder.num_features}; enlarge them, "
                "or read maps."
            )
        return read

    def features(self, frozen: Tensor) -> Tensor:
        """Return features ``[n, D]`` of frozen ones ``[n, D']`` that a task changed, by noise or masking."""
        self._pictures += 1
        with self._policy(f"{self._task} {self._pictures}"):
            return self.encoder.backbone.adapted(frozen)

    def frozen(self, batch: Batch, view: View | None = None) -> Tensor:
        """Return features ``[n, D']`` before the trained part of the backbone, without gradients.

        Raises:
            TypeError: All of the backbone is trained.
        """
        view = batch.policies.resolved(View() if view is None else view)
        cached = batch.features(view)
        if cached is not None:
            return cached
        with evaluating(self.encoder), torch.no_grad():
            return self.encoder.backbone.frozen(self.encoder.normalized(batch.images(view)))

    def by(self, encoder: Encoder) -> "Encode":
        """Return the same views through a teacher: its own normalization, evaluation mode, no gradients."""
        return Encode(encoder, self._key, self.with_maps, teacher=True)

    def _encoded(self, batch: Batch, views: tuple[View, ...]) -> list[Tensor]:
        """Return maps or vectors of each view; what was encoded before is looked up."""
        if self._task != MAIN:
            call = views, batch.numbers.numpy().tobytes()
            if call not in self._by_others:
                self._by_others[call] = self._joined(batch, views)
            return self._by_others[call]
        outs = self._joined(batch, views)
        for view, out in zip(views, outs, strict=True):
            known, where = self._by_main.get(view, (out[:0], torch.full((len(batch.whole),), -1)))
            where[batch.numbers] = len(known) + torch.arange(len(batch))
            self._by_main[view] = torch.cat([known, out]) if len(known) else out, where
        return outs

    def _joined(self, batch: Batch, views: tuple[View, ...]) -> list[Tensor]:
        """Look up the rows that the main task has encoded, and encode all others in one pass."""
        found = [self._found(batch, view) for view in views]
        missing = [(rows < 0).nonzero()[:, 0] for _, rows in found]
        asked = [self._input(batch, *each) for each in zip(views, missing, strict=True) if len(each[1])]
        fresh: Sequence[Tensor] = [torch.empty(0)] * len(views)
        if asked:
            joined = torch.cat([inputs for inputs, _ in asked]) if len(asked) > 1 else asked[0][0]
            out = self._forward(joined, repr(views), cached=asked[0][1])
            fresh = torch.split(out, [len(rows) for rows in missing])
        return [_combined(known, rows, new) for (known, rows), new in zip(found, fresh, strict=True)]

    def _found(self, batch: Batch, view: View) -> tuple[Tensor | None, Tensor]:
        """Return what the main task has encoded of a view, and the place in it of each row, -1 for none."""
        known, where = self._by_main.get(view, (None, torch.full((len(batch.whole),), -1)))
        return known, where[batch.numbers]

    def _input(self, batch: Batch, view: View, rows: Tensor) -> tuple[Tensor, bool]:
        """Return what goes into the network for some rows, and whether it is cached features."""
        if len(rows) < len(batch):
            batch, view = batch.take(rows), view.of_rows(rows.tolist())
        cached = batch.features(view)
        if cached is not None:
            return cached, True
        return self.encoder.normalized(batch.images(view)), False

    def _forward(self, inputs: Tensor, name: str, cached: bool = False) -> Tensor:
        backbone = self.encoder.backbone
        with self._policy(f"{name} of {len(inputs)}"):
            if cached:
                return backbone.adapted(inputs)
            if self.with_maps:
                return backbone.maps(inputs)
            features: Tensor = backbone(inputs)
            return features

    def _read(self, out: Tensor, maps: bool) -> Tensor:
        if maps and not self.with_maps:
            raise RuntimeError("`maps=True` needs a task that says so; set `maps = True` in its class.")
        return self.encoder.backbone.pool(out) if self.with_maps and not maps and out.ndim == 4 else out

    @contextmanager
    def _policy(self, name: str) -> Iterator[None]:
        """Apply what a pass may leave behind: running statistics, the state of generators, gradients."""
        backbone = self.encoder.backbone
        if self.teacher:
            with evaluating(self.encoder), torch.no_grad():
                yield
            return
        aside = self._task != MAIN and not self._shared_statistics
        statistics = frozen_statistics(backbone) if aside else nullcontext()
        device = self.encoder.mean.device
        devices = [device] if device.type == "cuda" else []
        # dropout draws from the global generators: they are keyed, and put back afterwards
        with statistics, torch.random.fork_rng(devices=devices, enabled=backbone.training):
            if backbone.training:
                key = stream_key(*self._key, "dropout", name)
                torch.default_generator.manual_seed(key)  # `torch.manual_seed` takes a millisecond
                if devices:
                    torch.cuda.manual_seed(key)
            yield


class Task(nn.Module, ABC):
    """Turns a batch into a loss, by asking for the features of the views that it needs.

    A subclass keeps its constructor's arguments as attributes, gives itself a `name`, makes its layers in
    `build`, and implements `loss`. The loss depends on the batch and on `draws` only; every random choice
    comes from `draws`, which is on the CPU, so that nobody waits for the device.

    Attributes:
        name: One word, unique in a module; names the loss in logs, such as ``train/rotation_loss``.
        maps: Whether it reads feature maps.
        by_class: Whether its layers are those of certain training classes.
        turned: Whether it asks for quarter turns of the views, which a cache of features must hold then.
        unit: What a weight of a search counts in: ``mean``, the running mean of the loss, or ``raw``, the
            loss itself, for one that starts at its least value.

    Example:
        >>> class Upright(Task):  # is an image turned upside down?
        ...     name = "upright"
        ...
        ...     def build(self, setup):
        ...         self.classifier = nn.Linear(setup.num_features, 2)
        ...
        ...     def loss(self, batch, encode, draws):
        ...         turned = torch.randint(2, (len(batch),), generator=draws)
        ...         logits = self.classifier(encode(batch, View(turns=tuple(2 * turned))))
        ...         return F.cross_entropy(logits, turned.to(logits.device))
    """

    name: str
    maps: bool = False
    by_class: bool = False
    turned: bool = False
    unit: Literal["mean", "raw"] = "mean"

    def __init__(self) -> None:
        super().__init__()

    def views(self) -> tuple[View, ...]:
        """Return the views that it asks for, turns aside; their policies must be those of the data."""
        return (View(),)

    def build(self, setup: Setup) -> None:
        """Make the layers; called once, when the encoder stands.

        Args:
            setup: Encoder, training classes and main task.
        """

    def start(self, setup: Setup) -> None:
        """Take what it needs of the weights that a fit begins with, such as a teacher's copy."""

    @abstractmethod
    def loss(self, batch: Batch, encode: Encode, draws: torch.Generator) -> Tensor | None:
        """Return the mean loss, a scalar; None where the batch holds nothing for this task.

        Args:
            batch: Of training, or of validation: images without labels.
            encode: Gives features of views.
            draws: On the CPU, keyed by the task's name and the batch.
        """

    def after_step(self, setup: Setup) -> None:
        """Follow the weights after an optimizer step, as an averaged teacher does."""

    def chance(self, batch: Batch) -> float | None:
        """Return the loss of a guess that knows nothing, in nats; None where there is no such level."""
        return None


class MainTask(Task):
    """The task that counts: its head classifies the episodes of evaluation.

    Args:
        head: Turns features of support and query into logits.

    Attributes:
        accuracy: Of the last batch, a detached scalar; None before.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head
        self.accuracy: Tensor | None = None

    def build(self, setup: Setup) -> None:
        """Make the layers of the head."""
        self.head.build(setup)

    def _note(self, logits: Tensor, labels: Tensor) -> None:
        """Keep the share of ``logits`` ``[..., N]`` whose largest entry is that of ``labels`` ``[...]``."""
        self.accuracy = (logits.detach().argmax(dim=-1) == labels).float().mean()


def _combined(known: Tensor | None, rows: Tensor, fresh: Tensor) -> Tensor:
    """Put known rows and fresh ones into one, in the order of the batch."""
    if known is None:
        return fresh
    absent = rows < 0
    if absent.any():
        rows = torch.where(absent, len(known) + absent.cumsum(0) - 1, rows)
        known = torch.cat([known, fresh])
    as_it_is = len(rows) == len(known) and torch.equal(rows, torch.arange(len(rows)))
    return known if as_it_is else known[rows.to(known.device)]
