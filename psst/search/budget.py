"""How long a training may be, given what the whole search may take; and what it will do."""

import re
import time
from bisect import bisect_right
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from pytorch_lightning.callbacks import LambdaCallback

from psst.search.folds import make_course
from psst.search.judge import Judge
from psst.search.mixture import MAIN_ONLY
from psst.search.progress import seconds_text
from psst.search.record import Manifest
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings, Setting
from psst.search.unit import Unit

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_PROBE = (4, 16)  # steps that warm up, and steps until the clock is stopped
_LEAST = 10


class Budget(NamedTuple):
    """What a search and its rivals may take: seconds of one process, or passes; the other is None."""

    seconds: float | None
    passes: int | None
    typed: str


class _Pace(NamedTuple):
    """Seconds of a training step on main only, and of a validation with all that is made for it."""

    step: float
    judging: float


def read_budget(
    time_text: str | None, steps: int | None, options: tuple[str, str] = ("--budget ", "--budget-steps ")
) -> Budget | None:
    """Return what the user allows, None for no bound; ValueError where both are given or make no sense."""
    if time_text is not None and steps is not None:
        raise ValueError(f"`{options[0].strip()}` and `{options[1].strip()}` exclude each other; give one.")
    if steps is not None:
        if isinstance(steps, bool) or steps < 1:
            raise ValueError(f"`{options[1]}{steps}` must be a number of passes above 0.")
        return Budget(None, steps, f"{options[1]}{steps}")
    if time_text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)", str(time_text).strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"`{options[0]}{time_text}` must be a time such as 45s, 30m or 2h.")
    return Budget(float(match[1]) * _UNITS[match[2]], None, f"{options[0]}{time_text}")


def solved(budget: Budget, judge: Judge, settings: SearchSettings, output: Path) -> int:
    """Return the T that makes search and rivals take what they may; ValueError where that pays for none.

    A search that goes on keeps its T. A time budget is planned from the pace measured now.
    """
    kept = Manifest.known_budget(output)
    if kept.get("typed") == budget.typed:
        return int(kept["max_steps"])
    pace = None if budget.passes is not None else measured_pace(judge, settings)

    def needed(steps: int) -> float:
        rows = make_course(judge, settings, steps, output, "").rows()
        passes, units = sum(row.passes for row in rows), sum(row.number for row in rows)
        return passes if pace is None else passes * pace.step + units * pace.judging

    allowed = float(budget.passes if budget.passes is not None else budget.seconds or 0.0)
    if needed(_LEAST) > allowed:
        least = f"{needed(_LEAST):.0f} passes" if pace is None else seconds_text(needed(_LEAST))
        raise ValueError(f"`{budget.typed}` pays for no search: the shortest one takes {least}.")
    return bisect_right(range(10**8), allowed, lo=_LEAST, key=needed) - 1


def measured_pace(judge: Judge, settings: SearchSettings, options: tuple[tuple[str, Any], ...] = ()) -> _Pace:
    """Train a few steps on main only, `options` of the config changed, and judge once; nothing is left."""
    torch.set_num_threads(settings.threads)
    unit = Unit("pace", MAIN_ONLY, 0, _PROBE[1], _PROBE[1], 0, setting=Setting(options=options))
    steps: list[tuple[int, float]] = []
    clock = LambdaCallback(on_train_batch_start=lambda t, *_: steps.append((t.global_step, time.monotonic())))
    with TemporaryDirectory() as name:
        folder = Path(name)
        trainer = UnitRunner(judge, settings, folder).trainer(unit, folder, [clock])
        module, data, _ = judge.fresh(unit)
        trainer.fit(module, datamodule=data)
        warm = [one for one in steps if one[0] >= _PROBE[0]]
        step = (warm[-1][1] - warm[0][1]) / (warm[-1][0] - warm[0][0])
        trainer.save_checkpoint(model := folder / "model.ckpt")
        began = time.monotonic()
        module, data, _ = judge.fresh(unit)
        judge.measure(module, data, trainer, model, "val")
    return _Pace(step, time.monotonic() - began)
