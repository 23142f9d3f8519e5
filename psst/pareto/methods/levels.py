"""Main first, subject to levels of other losses that a person can read."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import quadprog

from psst.pareto.least_squares import Array
from psst.pareto.methods.base import Method, StepState
from psst.pareto.methods.tradeoff import Tradeoff
from psst.pareto.solver import RIDGE, Decision, scaled
from psst.pareto.subproblem import ReachWatch

_PULL = 0.5  # largest first-order progress on a level, as a cosine between the step and that task's gradient
_FULL_PULL = 0.2  # excess over a level, relative to it, from which on the pull is as strong as it gets
_LONGEST = 3.0  # longest that levels may pull, relative to the step without them


class Levels(Method):
    """The main loss is minimized subject to named losses being at most their levels.

    While the running mean of a loss is above its level, the step may not raise that loss and pulls it back at
    a bounded rate, growing with the excess; below it, the task takes no part in the shared parameters. The
    step d is the shortest way from the other tasks' direction to one with
    ``<d, g_q> >= 0.5 |d| |g_q| min(1, excess_q / 0.2)`` for every violated level q.

    The certificate ``excess/<task>`` is (mean - level) / level; a level to which a whole patience brought its
    loss no nearer is marked in ``unreachable_level/<task>``.

    Args:
        levels: Largest wanted value of each named loss, positive; any number of them.
        tradeoff: As of `Tradeoff`, for the tasks without a level.

    Raises:
        ValueError: `levels` is empty, or one is not a positive number.

    Example:
        >>> method = Levels({"reconstruction": 0.1})
        >>> method.name_tasks(["main", "reconstruction"])
        >>> method.start(n_tasks=2)
    """

    may_starve = False

    def __init__(self, levels: Mapping[str, float], tradeoff: float = 0.0) -> None:
        if not isinstance(levels, Mapping) or not levels:
            raise ValueError(f"`levels={levels!r}` must be a mapping such as {{'reconstruction': 0.1}}.")
        for name, level in levels.items():
            if isinstance(level, bool) or not isinstance(level, int | float) or not 0.0 < level < np.inf:
                raise ValueError(
                    f"`levels['{name}']={level!r}` must be a positive number, the largest wanted value of "
                    "that loss; leave a loss out to leave it free."
                )
        self.levels = dict(levels)
        self.tradeoff = tradeoff
        self._free = Tradeoff(tradeoff)

    def name_tasks(self, names: Sequence[str]) -> None:
        """Find the tasks that have a level; ValueError where a name is no auxiliary task's."""
        for name in self.levels:
            if name not in names[1:]:
                near = difflib.get_close_matches(name, names[1:], n=1, cutoff=0.0)
                why = "the main task, which is minimized anyway" if name == names[0] else "no task"
                raise ValueError(
                    f"`levels['{name}']` names {why}; give a level to one of {near or names[1:]}."
                )
        self._names = tuple(names)

    def start(self, n_tasks: int) -> None:
        """Begin with all levels reachable."""
        self._levels = np.array([self.levels.get(name, np.inf) for name in self._names])
        self._others = np.flatnonzero(~np.isfinite(self._levels))
        self._free.start(len(self._others))
        self._watches = {int(q): ReachWatch(0) for q in np.flatnonzero(np.isfinite(self._levels))}
        self._step = -1

    def decide(self, state: StepState) -> Decision:
        """The free tasks' direction, and the least that levels need beside it."""
        assert state.gramian is not None
        losses, logs = state.losses[self._others], state.log_losses[self._others]
        base = np.zeros(len(self._levels))
        base[self._others] = self._free.decide(StepState(None, losses, logs, state.step)).weights
        excess = np.where(np.isfinite(self._levels), np.exp(state.log_losses) / self._levels - 1.0, -np.inf)
        excess = np.where(np.isnan(state.losses) | np.isnan(excess), -np.inf, excess)
        if state.step != self._step:
            self._step = state.step
            for q, watch in self._watches.items():
                watch.update(float(max(excess[q], 0.0)), bool(excess[q] <= 0.0))
        unreachable = np.zeros(len(base))
        unreachable[list(self._watches)] = [watch.unreachable for watch in self._watches.values()]
        certificates: dict[str, float | Array] = {
            "excess": np.where(np.isfinite(excess), excess, np.nan),
            "unreachable_level": unreachable,
        }
        normalized = scaled(state.gramian)
        status = "optimal" if normalized is not None else "skipped"
        if normalized is not None:
            base = base + self._pull(normalized, base, excess)
        return Decision(base, certificates=certificates, status=status)

    def _pull(self, gramian: Array, base: Array, excess: Array) -> Array:
        """``[m]`` weights v of the violated levels: the shortest sum with the progress they ask for."""
        pull = np.zeros(len(base))
        lengths = np.sqrt(np.maximum(gramian.diagonal(), 0.0))
        violated = np.flatnonzero((excess > 0.0) & (lengths > 0.0))
        length = float(np.sqrt(max(float(base @ gramian @ base), 0.0)))
        if not len(violated) or length == 0.0:
            return pull
        units = lengths[violated]
        wanted = _PULL * length * np.minimum(1.0, excess[violated] / _FULL_PULL)
        lacking = wanted - (gramian @ base)[violated] / units
        identity = np.eye(len(violated))
        cosines = gramian[np.ix_(violated, violated)] / np.outer(units, units) + RIDGE * identity
        solved = quadprog.solve_qp(cosines, lacking, identity, np.zeros(len(violated)))
        found: Array = np.maximum(solved[0], 0.0)
        size = float(np.sqrt(max(float(found @ cosines @ found), 0.0)))
        pull[violated] = found * min(1.0, _LONGEST * length / max(size, 1e-300)) / units
        return pull

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        watches = {str(q): watch.state_dict() for q, watch in self._watches.items()}
        return {"free": self._free.state_dict(), "watches": watches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._free.load_state_dict(state["free"])
        for q, watch in self._watches.items():
            watch.load_state_dict(state["watches"][str(q)])
