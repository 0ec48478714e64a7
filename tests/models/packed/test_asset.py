"""What goes into the asset comes out; what is not an asset is named."""

import dataclasses

import numpy as np
import pytest

from ncs4cvr.models.packed import asset, coding
from ncs4cvr.models.packed.places import places

TABLE = np.random.default_rng(3).normal(size=(9, 4)).astype("f4")


@pytest.mark.parametrize("block", [1, 16])
@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize("split", [0, 4])
def test_f32_loses_nothing(towers, split, common, unpack, block):
    made = towers(split=split, common=common, block=block, sizes=(12, 48, 16))
    blob, layout = asset.pack(made, [TABLE], "f32", "f32", {})
    assert layout.block == block
    pieces, tables = unpack(blob)
    for t, tower in enumerate(made):
        for number, layer in enumerate(tower):
            got = np.concatenate([pieces[t][p] for p in layout.uses[t][number]])
            np.testing.assert_array_equal(got, layer.kernel * layer.mask)
    np.testing.assert_array_equal(tables[0], TABLE)


def test_values_that_tasks_share_are_there_once(towers):
    made = towers()
    layout = asset.pack(made, [], "f32", "f32", {})[1]
    kept = sum(int((a.mask | b.mask).sum()) for a, b in zip(*made, strict=True))
    apart = asset.pack(towers(common=False), [], "f32", "f32", {})[1]
    assert len(layout.pieces) == 2
    assert len(apart.pieces) == 4
    for b in range(4):
        assert layout.parts[f"value.{b}"][1] <= kept + 32


def test_bf16_and_int8_keep_what_they_can(towers, unpack):
    blob, layout = asset.pack(towers(), [TABLE], "bf16", "int8", {})
    pieces, tables = unpack(blob)
    kernel = towers()[1][0]
    got = pieces[1][layout.uses[1][0][0]]
    expected = (kernel.kernel * kernel.mask).astype(coding.VALUES["bf16"]).astype("f4")
    np.testing.assert_array_equal(got, expected)
    assert np.abs(tables[0] - TABLE).max() <= np.abs(TABLE).max() / 254 * 1.001


def test_the_header_tells_the_layout(towers, unpack):
    blob, layout = asset.pack(towers(split=3), [TABLE], "f32", "int8", {"tasks": ["a", "b"]})
    assert asset.read(blob) == layout
    again, noted = asset.noted(blob, {"other": 1})
    assert noted.notes == {"other": 1}
    np.testing.assert_array_equal(unpack(again)[1][0], unpack(blob)[1][0])


def test_a_model_without_masked_layers_has_tables_alone(unpack):
    blob, layout = asset.pack([], [TABLE], "f32", "f32", {})
    assert layout.pieces == ()
    np.testing.assert_array_equal(unpack(blob)[1][0], TABLE)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda blob: b"PK" + blob, "no packed weights"),
        (lambda blob: blob[:-1], "their header tells"),
        (lambda blob: blob[:40], "header of the packed weights is broken"),
    ],
)
def test_what_is_no_asset_is_named(towers, spoil, told):
    blob, _ = asset.pack(towers(), [], "f32", "f32", {})
    with pytest.raises(ValueError, match=told):
        asset.read(spoil(blob))


@pytest.mark.parametrize("part", ["gaps", "ticket.0", "ticket.1"])
def test_a_ticket_that_has_changed_is_named(towers, part):
    blob, layout = asset.pack(towers(), [], "f32", "f32", {})
    at, length = layout.parts[part]
    last = at + length - 1  # of its checksum
    spoilt = blob[:last] + bytes([blob[last] ^ 1]) + blob[last + 1 :]
    with pytest.raises(ValueError, match=rf"{part} of the packed weights .* export again"):
        asset.tickets(spoilt)


def test_a_block_takes_one_bit_of_every_ticket_and_one_gap(towers):
    """Fair tickets of 30 inputs x 2 blocks and 32 x 1, each of 16 connections."""
    made = towers(keep=0.5, sizes=(30, 32, 16), block=16)
    layout = asset.pack(made, [], "f32", "f32", {})[1]
    assert sum(p.inputs * p.outputs for p in layout.pieces) == 16 * (60 + 32)
    kept = sum(int((a.mask | b.mask).sum()) for a, b in zip(*made, strict=True))
    assert 4 * kept < layout.limit < 4 * kept + (60 + 32) * 2 / 8
    assert layout.bytes_of("gaps") <= 60 + 32 + 32


@pytest.mark.parametrize("block", [1, 32])
def test_payload_lies_below_nine_tenths_of_the_limit(towers, block):
    """Weights drawn as Glorot draws them, 10 % of them kept."""
    made = towers(keep=0.1, sizes=(640, 256, 128), block=block)
    layout = asset.pack(made, [], "f32", "f32", {})[1]
    assert layout.bytes_of("gaps", "ticket", "value") <= 0.9 * layout.limit


@pytest.mark.parametrize(("rows", "refused"), [(2**28 - 1, False), (2**28, True)])
def test_a_table_that_no_server_unpacks_is_refused(towers, rows, refused):
    """TensorFlow cuts what it decompresses off at 2^31 - 1 bytes, a plane's of so many numbers."""
    layout = asset.pack(towers(), [], "f32", "f32", {})[1]
    layout = dataclasses.replace(layout, tables=((rows, 8),))
    if not refused:
        places(layout, range(2), ())
        return
    with pytest.raises(ValueError, match="2,147,483,648 weights are more"):
        places(layout, range(2), ())
