import numpy as np
import pytest
import torch

from psst.randomness import stream_key, torch_generator


def test_keys_are_the_same_everywhere():
    """Published results name a seed: the streams behind it may not change with a release or a process."""
    assert stream_key(0, "val", "episodes", -3) == 402570234082172964


def test_parts_do_not_run_into_each_other():
    lists = [
        (),
        ("",),
        ("", ""),
        (1,),
        ("1",),
        ("i1",),
        (11,),
        (1, 1),
        ("a", "bc"),
        ("ab", "c"),
        ("abc",),
        (-1,),
    ]
    assert len({stream_key(*parts) for parts in lists}) == len(lists)
    assert stream_key(np.int64(4)) == stream_key(4)


def test_a_part_of_another_type_is_refused():
    with pytest.raises(TypeError, match=r"integer or text, found float 0\.5"):
        stream_key(0.5)


def test_generators_repeat_and_differ():
    def first(*parts):
        return torch.rand(8, generator=torch_generator("cpu", *parts))

    assert torch.equal(first(0, "augment", 12), first(0, "augment", 12))
    assert not torch.equal(first(0, "augment", 12), first(0, "augment", 13))
