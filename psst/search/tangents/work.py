"""Tangents and their rivals as pieces of work that any process can do."""

from dataclasses import dataclass
from typing import Any

from psst.search.tangents.exploration import TangentExploration
from psst.search.tangents.settings import TangentSettings
from psst.search.work import Workshop

__all__ = ["NeighboringRay", "TangentStep", "open_exploration"]


@dataclass(frozen=True)
class _Gap:
    """Between two finished units.

    Args:
        parent: Name of the unit that the work comes from.
        neighbor: Name of the unit towards which it goes.
        settings: Of the tangent.
        steps: First and last step of what is trained.
    """

    parent: str
    neighbor: str
    settings: TangentSettings
    steps: tuple[int, int]


class TangentStep(_Gap):
    """Predict, correct and confirm a model between two finished units; or say why not."""

    @property
    def name(self) -> str:
        """Of the unit."""
        return f"tangent-{self.parent}-{self.neighbor}"

    def do(self, workshop: Workshop) -> dict[str, Any]:
        """Return what validation says, and ``accepted``; or ``skipped``."""
        return open_exploration(workshop, self.settings).tangent(self.parent, self.neighbor)


class NeighboringRay(_Gap):
    """Train on the same ray without a tangent, for as many steps as one may cost."""

    @property
    def name(self) -> str:
        """Of the unit."""
        return f"neighbor-{self.parent}-{self.neighbor}"

    def do(self, workshop: Workshop) -> dict[str, Any]:
        """Return what validation says."""
        return open_exploration(workshop, self.settings).rival(self.parent, self.neighbor)


def open_exploration(workshop: Workshop, settings: TangentSettings) -> TangentExploration:
    """Return what runs tangents in a process; ValueError where units are too short for a corrector."""
    return TangentExploration(
        workshop.runner,
        workshop.judge,
        workshop.settings,
        settings,
        workshop.runner.folder,
        round(workshop.settings.warm_fraction * workshop.max_steps),
        workshop.max_steps,
        len(workshop.judge.task_names()),
    )
