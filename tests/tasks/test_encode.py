"""Each view is computed once, and nobody's loss depends on who asked first."""

import pytest
import torch

from psst.backbones import Conv4, ResNet12
from psst.episodes import Policies
from psst.images.view import UPRIGHT, View
from psst.tasks import Encode
from tests import laws
from tests.tasks.batches import CLASSES, SIDE, make_batch


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return laws.setup_for(Conv4(hidden=8), (1, SIDE, SIDE), CLASSES).encoder


def encode_for(encoder, **options):
    return Encode(encoder, (0, "train", 7), **options)


def count_images(encoder):
    """Record how many images every forward pass of the backbone takes."""
    seen = []
    encoder.backbone.blocks.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    return seen


def test_features_are_those_of_the_encoder(encoder):
    batch = make_batch()
    encode = encode_for(encoder.eval())
    for view in (View(), View(crop=2), View(UPRIGHT), View(turns=tuple(range(len(batch))))):
        torch.testing.assert_close(encode(batch, view), encoder(batch.images(view)))


def test_what_main_has_encoded_is_looked_up(encoder):
    """The same rows, some of them, and maps where it took vectors: from the same forward pass."""
    seen, batch = count_images(encoder), make_batch()
    encode = encode_for(encoder, with_maps=True)
    first = encode(batch.labeled)
    encode.begin("other")
    rows = torch.tensor([5, 2, 11])
    assert torch.equal(encode(batch.labeled), first)
    assert torch.equal(encode(batch.labeled.take(rows)), first[rows])
    assert torch.equal(encode(batch.episodes), first[: batch.shape.rows])
    assert torch.equal(encoder.backbone.pool(encode(batch.labeled, maps=True)), first)
    assert seen == [len(batch.labeled)]
    assert encode(batch.labeled).grad_fn is not None


def test_rows_that_main_has_not_seen_are_encoded_beside_those_it_has(encoder):
    seen, batch = count_images(encoder), make_batch()
    encode = encode_for(encoder.eval())
    encode(batch.episodes)
    encode.begin("other")
    torch.testing.assert_close(encode(batch), encoder(batch.images()))
    assert seen[:2] == [batch.shape.rows, len(batch) - batch.shape.rows]


def test_main_of_all_turns_finds_rotation_done(encoder):
    """Whether upright pictures of all four turns or one of them are asked for later."""
    seen, batch = count_images(encoder), make_batch()
    encode = encode_for(encoder)
    turns = [View(turns=(turn,)) for turn in range(4)]
    main = encode(batch, *turns)
    encode.begin("rotation")
    assert torch.equal(encode(batch, *turns), main)
    assert torch.equal(encode(batch, turns[3]), main[3])
    assert seen == [4 * len(batch)]


def test_turns_by_row_are_found_for_some_of_the_rows(encoder):
    """Each image one turn by its place, for both tasks."""
    seen, batch = count_images(encoder), make_batch()
    encode = encode_for(encoder)
    view = View(turns=tuple(row % 4 for row in range(len(batch))))
    main = encode(batch, view)
    encode.begin("rotation")
    assert torch.equal(encode(batch, view), main)
    assert seen == [len(batch)]


def test_auxiliary_tasks_share_the_very_same_call_only(encoder):
    """A view asked for alone has other BatchNorm statistics than one asked for beside another."""
    seen, batch = count_images(encoder), make_batch()
    encode = encode_for(encoder)
    encode.begin("one")
    alone = encode(batch, View(crop=1))
    pair = encode(batch, View(crop=1), View(crop=2))
    encode.begin("two")
    assert torch.equal(encode(batch, View(crop=1)), alone)
    assert torch.equal(encode(batch, View(crop=1), View(crop=2)), pair)
    assert seen == [len(batch), 2 * len(batch)]
    assert not torch.equal(pair[0], alone)


def test_views_that_are_the_same_picture_are_encoded_once(encoder):
    """Without an augmentation every crop is the upright image."""
    seen, batch = count_images(encoder), make_batch(Policies())
    encode = encode_for(encoder)
    first = encode(batch)
    encode.begin("other")
    assert torch.equal(encode(batch, View(crop=3)), first)
    assert len(seen) == 1


@pytest.mark.parametrize("shared", [False, True])
def test_running_statistics_belong_to_the_main_task_unless_shared(encoder, shared):
    batch, norm = make_batch(), encoder.backbone.blocks[0].norm
    encode = encode_for(encoder, shared_statistics=shared)
    encode(batch)
    before = norm.running_mean.clone()
    encode.begin("other")
    encode(batch, View(crop=1))
    encode.images(batch.images(View(crop=2)))
    assert torch.equal(before, norm.running_mean) != shared


def test_dropout_is_keyed_by_what_is_encoded_and_leaves_no_trace():
    torch.manual_seed(0)
    encoder = laws.setup_for(ResNet12((4, 4, 4, 4), drop_rate=0.5), (1, SIDE, SIDE), CLASSES).encoder
    state = torch.get_rng_state()
    first = encode_for(encoder)(make_batch())
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(5)
    assert torch.equal(encode_for(encoder)(make_batch()), first)
    assert not torch.equal(Encode(encoder, (0, "train", 8))(make_batch()), first)


def test_a_teacher_sees_the_same_views_without_gradients(encoder):
    batch = make_batch()
    norm = encoder.backbone.blocks[0].norm
    before = norm.running_mean.clone()
    features = encode_for(encoder).by(encoder)(batch, View(crop=1))
    assert encoder.training
    assert torch.equal(before, norm.running_mean)
    assert not features.requires_grad
    torch.testing.assert_close(features, encoder.eval()(batch.images(View(crop=1))))


def test_what_cannot_be_read_is_refused_in_words(encoder):
    encode, batch = encode_for(encoder), make_batch()
    with pytest.raises(RuntimeError, match="set `maps = True`"):
        encode(batch, maps=True)
    with pytest.raises(ValueError, match=r"pictures of \[1, 32, 32\] give 32 features"):
        encode.images(torch.rand(2, 1, 32, 32))
    for call in (lambda: encode.frozen(batch), lambda: encode.features(torch.rand(2, 8))):
        with pytest.raises(TypeError, match="`backbone` Conv4 has no frozen features"):
            call()
