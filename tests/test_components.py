import json
from pathlib import Path

import pytest

from psst.backbones import Backbone, Conv4, ResNet12, Timm
from psst.components import describe, instantiate
from psst.fewshot import Head, PrototypicalHead
from psst.tasks import Rotation, Task


class Forgetful:
    def __init__(self, kept, lost):
        self.kept = kept


class Holder:
    def __init__(self, value):
        self.value = value


@pytest.mark.parametrize(
    ("component", "kind"),
    [
        (Conv4(hidden=8), Backbone),
        (ResNet12(widths=(4, 8, 12, 16), drop_rate=0.2), Backbone),
        (Timm("resnet10t", options={"act_layer": "relu"}), Backbone),
        (PrototypicalHead(), Head),
        (Rotation(turns="all"), Task),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_description_is_plain_and_makes_an_equal_component(component, kind):
    description = json.loads(json.dumps(describe(component)))
    rebuilt = instantiate(description, kind)
    assert type(rebuilt) is type(component)
    assert describe(rebuilt) == description


def test_class_paths_are_the_shortest_public_door():
    assert describe(Conv4()) == {"class_path": "psst.backbones.Conv4", "init_args": {"hidden": 64}}


def test_values_become_plain():
    described = describe(Holder({"a": (1, 2), "b": Path("x") / "y", "c": Holder(None)}))["init_args"]["value"]
    assert described["a"] == [1, 2]
    assert described["b"] == str(Path("x") / "y")
    assert described["c"]["init_args"] == {"value": None}


def test_an_argument_not_kept_is_named():
    with pytest.raises(TypeError, match=r"does not keep its argument `lost`"):
        describe(Forgetful(1, 2))


def test_a_value_without_description_is_named():
    with pytest.raises(TypeError, match=r"`Holder.value` holds a function"):
        describe(Holder(lambda: None))


def test_a_local_class_has_no_description():
    class Local:
        pass

    with pytest.raises(ValueError, match="cannot be imported"):
        describe(Local())


@pytest.mark.parametrize(
    ("description", "error", "words"),
    [
        ({"class_path": "psst.backbones.Conv5"}, ValueError, r"has no `Conv5`; it offers .*Conv4"),
        ({"class_path": "psst.backbonez.Conv4"}, ValueError, r"backbonez.*cannot be imported"),
        ({"class_path": "Conv4"}, ValueError, r"cannot be imported"),
        ({"class_path": "psst.fewshot.PrototypicalHead"}, TypeError, r"is not a psst\.backbones\..*Backbone"),
        ({"class_path": "psst.components.describe"}, TypeError, r"is not a "),
        ({"class_path": "psst.backbones.Conv4", "init_args": {"wide": 3}}, TypeError, r"do not fit.*'wide'"),
        ({"hidden": 3}, ValueError, r"`class_path`.*\['hidden'\]"),
    ],
)
def test_bad_descriptions_are_refused_in_words(description, error, words):
    with pytest.raises(error, match=words):
        instantiate(description, Backbone)
