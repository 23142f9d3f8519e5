"""What a user may set under the `search:` group of a config; nothing heavy is imported."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, get_args

_Tries = Literal["singles", "around", "mixtures", "methods", "grid", "rays"]
_Rival = Literal["plain", "fixed", "grid", "own"]


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"`search.{name}={value}` must be one of {', '.join(known)}; the nearest is `{near}`."
        )


def _at_least(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"`search.{name}={value}` must be a whole number of at least {least}.")


@dataclass(frozen=True)
class Look:
    """One look: branches that try trade-offs; T is `trainer.max_steps` passes of the main batch.

    Args:
        at: Where it leaves the trunk, as a share of T in [0, 1); 0 is from scratch, without a trunk.
        length: Of each branch, as a share of T.
        tries: Which trade-offs: ``singles`` (main only, each task, main only again, all together), ``around``
            (main only and the best so far, with a third and three times their weights), ``mixtures`` (pairs
            and all of the tasks that were ahead), ``methods`` (those of `SearchSettings.methods` over all
            tasks and over those that were ahead), ``grid`` (each task at 0.3, 1 and 3), ``rays`` (evenly
            spread rays), or a list of weights by task, ``{}`` for main only.
        at_most: What all branches together may take, as a share of T; fewer are tried where it is not enough.
        folds: On how many folds of the classes each trade-off is tried; only from scratch.

    Raises:
        ValueError: A value lies outside its range.
    """

    at: float = 0.0
    length: float = 1.0
    tries: _Tries | list[dict[str, float]] = "singles"
    at_most: float | None = None
    folds: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.tries, str):
            _one_of("looks.tries", self.tries, get_args(_Tries))
        at, length, most, folds = self.at, self.length, self.at_most, self.folds
        laws = {
            f"at={at}` must lie in [0, 1): a share of trainer.max_steps": 0 <= at < 1,
            f"length={length}` must be above 0": length > 0,
            f"tries={self.tries}` must list weights above 0 by task": bool(self.tries)
            and all(weight > 0 for weights in self.given for weight in weights.values()),
            f"at_most={most}` leaves no room for branches of {length}": most is None or most >= length / 8,
            f"folds={folds}` with `at={at}`: folds must be at least 1, and more need trainings from scratch "
            "(`at: 0`), for a trunk has seen all classes": folds == 1 or (folds > 1 and at == 0),
        }
        for law, kept in laws.items():
            if not kept:
                raise ValueError(f"`search.looks.{law}.")

    @property
    def given(self) -> list[dict[str, float]]:
        """Trade-offs of a list of one's own."""
        return [] if isinstance(self.tries, str) else self.tries


_COURSES: dict[str, tuple[Look, ...]] = {
    "trunk": (
        Look(at=0.35, length=0.02, tries="singles", at_most=0.08),
        Look(at=0.7, length=0.1, tries="around", at_most=0.3),
    ),
    "trunk, many tasks": (
        Look(at=0.35, length=0.02, tries="singles", at_most=0.1),
        Look(at=0.55, length=0.02, tries="mixtures", at_most=0.06),
        Look(at=0.7, length=0.1, tries="around", at_most=0.3),
    ),
    "folds": (
        Look(tries="singles", folds=3),
        Look(tries="around", folds=3, at_most=3.0),
        Look(tries="mixtures", folds=3, at_most=4.0),
        Look(tries="methods", folds=3, at_most=5.0),
    ),
    "grid": (Look(length=1.0, tries="grid"),),
    "paper": (Look(length=1.0, tries="rays"),),
}
"""The shipped courses; with three tasks or more `trunk` has a look in the middle."""


@dataclass(frozen=True)
class Setting:
    """How a trade-off is trained from scratch.

    Example:
        >>> Setting(0.5, options=(("model.init_args.backbone.init_args.dropout", 0.5),)).name("main only")
        'main only, 0.5 T, dropout=0.5'
    """

    length: float = 1.0  # factor on T
    rate: float = 1.0  # factor on the learning rate
    options: tuple[tuple[str, Any], ...] = ()  # keys of the config and their values

    @classmethod
    def of(cls, departures: Mapping[str, Any]) -> "Setting":
        """Return the one that departs in these keys from the usual."""
        options = tuple((key, value) for key, value in departures.items() if key not in _LENGTHS_AND_RATES)
        return cls(departures.get("length", 1.0), departures.get("rate", 1.0), options)

    @property
    def departures(self) -> dict[str, Any]:
        """In which keys it departs from the usual one."""
        factors = {"length": self.length, "rate": self.rate}
        return {**{key: value for key, value in factors.items() if value != 1}, **dict(self.options)}

    def name(self, mixture: str) -> str:
        """What reports call a trade-off that is trained so."""
        words = [mixture] + ([f"{self.length:g} T"] if self.length != 1 else [])
        words += [f"lr x {self.rate:.2g}"] if self.rate != 1 else []
        shown = {key: str(value).removeprefix("psst.fewshot.") for key, value in self.options}
        return ", ".join([*words, *(f"{key.rsplit('.', 1)[-1]}={value}" for key, value in shown.items())])


USUAL = Setting()
_LENGTHS_AND_RATES: dict[str, list[Any]] = {"length": [1.0, 0.5, 2.0], "rate": [1.0, 0.3, 3.0]}


def varied(vary: Mapping[str, list[Any]]) -> list[Setting]:
    """Return all combinations, those with fewer departures from each key's first value first."""
    all_of_them = (zip(vary, values, strict=True) for values in product(*vary.values()))
    departures = [{key: value for key, value in one if value != vary[key][0]} for one in all_of_them]
    return [Setting.of(one) for one in sorted(departures, key=len)]


@dataclass(frozen=True)
class SearchSettings:
    """Settings of a search; T is the length of one full training, `trainer.max_steps`.

    Args:
        course: ``trunk`` trains once and looks around; ``folds`` trains every trade-off from scratch on
            folds of the classes; ``grid`` trains fixed weights; ``paper`` keeps to evenly spread rays by
            min-norm steps.
        looks: Looks of one's own in place of the course's, in order.
        rivals: What is trained beside the search at its cost: ``plain`` (always), ``fixed`` weights of 1, a
            ``grid`` of weights that costs as much in all, the user's ``own`` small network from scratch for
            as long as all the rest took (on folds only).
        methods: Methods tried beside weights, such as ``upgrad``.
        vary: Settings that are tried on folds: values by key, the config's own first. ``length`` and ``rate``
            are factors on T and the learning rate, all others keys of the config.
        own: Keys of the config that make the user's own small network.
        rays: Rays between neighboring branches of the last look that are followed after it; 0 for none.
        ray_method: How: ``preference``, ``ray`` or ``min_norm``.
        least_steps: Optimizer steps of a branch, at least.
        least_last_steps: Of one of the last look.
        renewal_batches: Training batches that renew a candidate's BatchNorm statistics.
        threads: CPU threads of each unit; part of the configuration, so that the result does not depend on
            the machine.
        checkpoint_every: Optimizer steps after which a unit saves its whole state; one that is killed goes on
            from there, and ends as if it had not been.

    Raises:
        ValueError: A value lies outside its range.
    """

    course: Literal["trunk", "folds", "grid", "paper"] = "trunk"
    looks: list[Look] | None = None
    rivals: tuple[_Rival, ...] = ("plain", "fixed", "grid")
    methods: tuple[str, ...] = ()
    vary: dict[str, list[Any]] = field(default_factory=lambda: dict(_LENGTHS_AND_RATES))
    own: dict[str, Any] = field(default_factory=dict)
    rays: int = 0
    ray_method: Literal["preference", "ray", "min_norm"] = "preference"
    least_steps: int = 25
    least_last_steps: int = 100
    renewal_batches: int = 15
    threads: int = 1
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        _one_of("course", self.course, ("trunk", "folds", "grid", "paper"))
        _one_of("ray_method", self.ray_method, ("preference", "ray", "min_norm"))
        for rival in self.rivals:
            _one_of("rivals", rival, get_args(_Rival))
        for name in ("least_steps", "least_last_steps", "renewal_batches", "threads", "checkpoint_every"):
            _at_least(name, getattr(self, name), 1)
        _at_least("rays", self.rays, 0)
        for key, values in self.vary.items():
            if not isinstance(values, list) or not values:
                raise ValueError(f"`search.vary.{key}={values!r}` must list values, the config's own first.")
            if key in _LENGTHS_AND_RATES and values[0] != 1:
                raise ValueError(f"`search.vary.{key}={values}` are factors and must begin with 1.")
        if "own" in self.rivals and not self.own:
            raise ValueError(
                "`search.rivals` names `own`, and `search.own` does not say what that network is; give keys "
                "of the config such as `model.init_args.backbone: psst.backbones.Conv4`."
            )
        for key, value in self.own.items():
            if not isinstance(value, str | int | float | bool | None):
                raise ValueError(
                    f"`search.own.{key}` must be a plain value; write a component as its class path, and its "
                    f"arguments below `{key}.init_args`."
                )
        places = [look.at for look in self.looks or []]
        if places != sorted(places) or (0 in places and any(places)):
            raise ValueError(
                f"`search.looks` leave the trunk at {places}: they must follow one another, and looks from "
                "scratch (`at: 0`) have no trunk to leave later."
            )

    def course_of(self, auxiliary: Sequence[str]) -> tuple[Look, ...]:
        """Return the looks for these tasks, in order; ValueError where one names another task."""
        if self.looks:
            for task in (task for look in self.looks for weights in look.given for task in weights):
                _one_of("looks.tries", task, auxiliary)
            return tuple(self.looks)
        many = self.course == "trunk" and len(auxiliary) > 1
        return _COURSES["trunk, many tasks" if many else self.course]
