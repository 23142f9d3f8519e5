"""Pieces of a search that any process can do: a training, an average, a test."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from psst.search.progress import Report
from psst.search.protocols import Judge, Run
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings
from psst.search.unit import Unit

Results = Mapping[str, dict[str, Any]]
"""What units have given, by name."""


class Workshop:
    """What a process needs for the work of one search."""

    def __init__(
        self, run: Run, judge: Judge, settings: SearchSettings, folder: Path, report: Report | None = None
    ) -> None:
        self.judge = judge
        counts = (settings.checkpoint_every, settings.renewal_batches)
        self.runner = UnitRunner(run, folder, judge, report, *counts)


@dataclass(frozen=True)
class Work:
    """One piece; it can be sent to another process.

    Attributes:
        kind: What is done.
        unit: To whom.
        key: Of the unit.
        members: Units that an average is made of.
        passes: What it costs.
    """

    kind: Literal["train", "average", "test"]
    unit: Unit
    key: str
    members: tuple[str, ...] = ()
    passes: float = 0.0

    @property
    def name(self) -> str:
        """Of the unit; a test has a name of its own."""
        return f"test {self.unit.name}" if self.kind == "test" else self.unit.name

    def do(self, workshop: Workshop) -> dict[str, Any]:
        """Leave files, and return plain values for the manifest."""
        runner = workshop.runner
        if self.kind == "test":
            runner.test(self.unit.name, self.unit)
            return {}
        if self.kind == "average":
            found = runner.average(self.unit, self.key, self.members)
        else:
            found = runner.train(self.unit, self.key)
        return {**found, "passes": self.passes}


Line = Generator[list[Work], Results, Any]
"""A straight line of work: gives what can be done side by side, and is sent what came of it."""
