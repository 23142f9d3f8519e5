"""Tangents as part of a whole search."""

import pytest

import psst.search
from psst.search import SearchSettings
from psst.search.settings import TangentSettings
from tests.search.tasks import Columns, Heads

TANGENT = TangentSettings(batches=8, check_batches=4, recalibration_batches=2, correct_steps=3)


def search(output, **changes):
    settings = SearchSettings(
        auxiliary_weights=(0.0, 0.3, 1.0),
        baselines=False,
        max_explored=1,
        recalibration_batches=2,
        check_batches=3,
        tangent=TANGENT,
        **changes,
    )
    return psst.search.search(
        lambda: Heads(norm=False),
        Columns(),
        max_steps=40,
        monitor="val/error",
        mode="min",
        settings=settings,
        output=output,
        trainer={"accelerator": "cpu"},
    )


def test_tangents_are_candidates_or_say_why_not(tmp_path):
    result = search(tmp_path, max_tangents=2)
    units = result.units
    tangents = [unit for name, unit in units.items() if name.startswith("tangent-")]
    assert len(tangents) == 2
    candidates = [candidate.name for candidate in result.candidates]
    for name, unit in units.items():
        if name.startswith("tangent-"):
            assert unit["accepted"] == (name in candidates)
            assert unit["accepted"] or unit["skipped"]
            assert unit["steps"] >= unit["tangent_steps"] > 0
    again = search(tmp_path, max_tangents=2)
    assert [c.metric for c in again.candidates] == [c.metric for c in result.candidates]


def test_units_too_short_for_a_corrector_are_refused_before_any_training(tmp_path):
    with pytest.raises(ValueError, match=r"`search\.tangent\.correct_steps=30` must lie in"):
        psst.search.search(
            lambda: Heads(norm=False),
            Columns(),
            max_steps=40,
            monitor="val/error",
            mode="min",
            settings=SearchSettings(max_tangents=1, tangent=TangentSettings(correct_steps=30)),
            output=tmp_path / "out",
            trainer={"accelerator": "cpu"},
        )
    assert not (tmp_path / "out" / "units").exists()
