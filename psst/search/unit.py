"""The units of a search: what is trained, from where, for how many steps; and what was measured of it."""

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from psst.evaluation import ClassDifference, EpisodeScores, class_difference
from psst.evaluation.class_draw import mean_accuracy
from psst.search.mixture import MAIN_ONLY, Mixture
from psst.search.settings import USUAL, Setting


@dataclass(frozen=True)
class Unit:
    """One training, one average, or one test; it can be sent to another process.

    From optimizer step `falls` on its learning rate falls to zero, linearly, on top of the user's schedule;
    None is for a piece of the trunk.
    """

    name: str  # and its folder's
    mixture: Mixture
    start: int  # optimizer step at which it starts; above 0 it goes on from `parent`
    stop: int  # optimizer step at which it ends
    horizon: int  # `max_steps` of its trainer, for schedules that ask for the length of the training
    falls: int | None = None
    parent: str = ""  # name of the unit whose last state it goes on from, or whose model it tests
    batches: int = 0  # which training batches it sees: 0 those that come next, k others
    fold: tuple[int, int] | None = None  # that is left out, of how many; -1 for none, None: the data's own
    setting: Setting = USUAL
    members: tuple[str, ...] = ()  # names of the units that it averages; empty for a training
    test: bool = False
    passes: float = 0.0  # what it costs
    key: str = ""  # digest of all that its result depends on but code

    @property
    def steps(self) -> int:
        """Optimizer steps that it costs."""
        return self.stop - self.start

    @property
    def judged(self) -> bool:
        """Whether it is validated or tested: a piece of the trunk is not."""
        return self.falls is not None


Results = Mapping[str, dict[str, Any]]  # what units have given, by name
Line = Generator[list[Unit], Results, Any]  # gives what can be done side by side, and is sent what came of it


@dataclass(frozen=True)
class Metric:
    """The validation metric that chooses."""

    name: str  # as in the result files, such as `val_accuracy`
    mode: Literal["max", "min"]  # whether more or less of it is better
    label: str  # how pictures name it
    unit: Literal["", "%"] = ""  # what it is shown in; `%` shows 100 times the value

    def quality(self, value: float) -> float:
        """The higher the better; a value that is no number is the worst of all."""
        if np.isnan(value):
            return -np.inf
        return value if self.mode == "max" else -value

    def shown(self, value: float) -> float:
        """The value in its unit."""
        return 100 * value if self.unit == "%" else value

    def text(self, value: float, half_width: float = math.inf, sign: str = "") -> str:
        """The value as tables print it, with half of its interval where that is known."""
        around = f" ± {self.shown(half_width):.2f}" if math.isfinite(half_width) else ""
        return f"{self.shown(value):{sign}.{2 if self.unit == '%' else 4}f}{around}"


@dataclass(frozen=True, eq=False)
class Measured:
    """What validation or test says of a model.

    Attributes:
        metric: The value that chooses.
        quality: The same, the higher the better.
        scores: Of each episode, by group of classes; empty without episodes.
        shards: ``[k]`` qualities on parts of the data; None where they were not measured.
    """

    metric: float
    quality: float
    scores: Mapping[str, EpisodeScores] = field(default_factory=dict)
    shards: NDArray[np.float64] | None = None

    @property
    def folds(self) -> dict[str, float]:
        """Mean accuracy of each fold, by its number from 0; empty where there are none."""
        parts: dict[str, list[float]] = {}
        for name, one in self.scores.items():
            fold, slash, _ = name.partition("/")
            if slash and fold.isdigit():
                parts.setdefault(fold, []).append(one.mean)
        return {fold: float(np.mean(values)) for fold, values in parts.items()}

    @property
    def half_width(self) -> float:
        """Of the 95% interval, over classes and episodes; infinite where nothing tells."""
        return mean_accuracy(self.scores).half_width if self.scores else math.inf

    def __sub__(self, other: "Measured") -> ClassDifference:
        shared = [name for name in self.scores if name in other.scores]  # not all were judged on every fold
        if shared:
            return class_difference(*({name: one.scores[name] for name in shared} for one in (self, other)))
        mean = self.quality - other.quality
        if self.shards is None or other.shards is None:
            return ClassDifference(mean)
        gaps = self.shards - other.shards
        return ClassDifference(mean, 2.0 * float(gaps.std(ddof=1)) / len(gaps) ** 0.5)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model that was trained or averaged, and what validation says of it.

    Attributes:
        name: What a user reads.
        unit: That holds the model; of an average, its mixture is that of the best member.
        line: `search`, or the rival to which it belongs.
        measured: On validation.
        result: Everything that the unit reported.
        look: Number of the look that it belongs to, from 1; 0 for none.
    """

    name: str
    unit: Unit
    line: str
    measured: Measured
    result: Mapping[str, Any]
    look: int = 0

    @property
    def quality(self) -> float:
        """Of the metric, the higher the better."""
        return self.measured.quality

    @property
    def is_main_only(self) -> bool:
        """Whether no auxiliary task took part in its last piece."""
        return self.unit.mixture == MAIN_ONLY
