"""Tickets on disk, and what is told about them."""

import json

import numpy as np
import pytest

from ncs4cvr.models.pruning.search import Round
from ncs4cvr.models.pruning.tickets import Tickets, describe, show

SHAPES = [(5, 3), (3, 2)]


def _ticket(seed, share):
    rng = np.random.default_rng(seed)
    return [rng.random(shape) < share for shape in SHAPES]


@pytest.fixture
def found():
    """Two tasks, three rounds; ctr chose round 1, watch (an MSE) round 2."""
    rounds = [
        Round([_ticket(0, 1.1)] * 2, {"ctr_auc": 0.7, "watch_mse": 0.30}),
        Round([_ticket(1, 0.6), _ticket(2, 0.6)], {"ctr_auc": 0.75, "watch_mse": 0.2}),
        Round([_ticket(3, 0.3), _ticket(4, 0.3)], {"ctr_auc": 0.72, "watch_mse": 0.1}),
    ]
    facts = describe(["ctr", "watch"], rounds, [1, 2], {"recipe": "tiny", "seed": 7})
    tickets = {"ctr": rounds[1].tickets[0], "watch": rounds[2].tickets[1]}
    start = [np.random.default_rng(i).normal(size=i).astype("float32") for i in range(12)]
    return Tickets(tickets, start, facts)


@pytest.fixture
def folder(found, tmp_path):
    found.save(str(tmp_path / "tickets"))
    return str(tmp_path / "tickets")


def test_masks_come_back_bit_for_bit(found, folder):
    again = Tickets.load(folder)
    assert list(again.tickets) == ["ctr", "watch"]
    for task, ticket in found.tickets.items():
        for a, b in zip(ticket, again.tickets[task], strict=True):
            assert b.dtype == bool
            np.testing.assert_array_equal(a, b)


def test_the_start_comes_back_bit_for_bit_and_in_order(found, folder):
    again = Tickets.load(folder)
    for a, b in zip(found.start, again.start, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_facts_come_back(found, folder):
    assert Tickets.load(folder).facts == found.facts


def test_facts_tell_density_overlap_choice_and_origin(found):
    facts, (ctr, watch) = found.facts, found.tickets.values()
    size = sum(mask.size for mask in ctr)
    assert facts["kept"]["ctr"]["total"] == pytest.approx(sum(m.sum() for m in ctr) / size)
    assert facts["kept"]["watch"]["layers"] == pytest.approx([m.mean() for m in watch])
    both = sum((a & b).sum() for a, b in zip(ctr, watch, strict=True))
    either = sum((a | b).sum() for a, b in zip(ctr, watch, strict=True))
    assert facts["overlap"] == pytest.approx(both / either)
    last = (ctr[1] & watch[1]).sum() / max((ctr[1] | watch[1]).sum(), 1)
    assert facts["overlap_layers"][1] == pytest.approx(last)
    assert facts["chosen"] == {"ctr": 1, "watch": 2}
    assert [r["metrics"]["ctr_auc"] for r in facts["rounds"]] == [0.7, 0.75, 0.72]
    assert facts["rounds"][0]["kept"] == {"ctr": 1.0, "watch": 1.0}
    assert facts["made_from"] == {"recipe": "tiny", "seed": 7}
    json.dumps(facts)


def test_a_folder_without_tickets_is_an_error_that_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"holds no tickets .*TicketSearch"):
        Tickets.load(str(tmp_path))


@pytest.mark.parametrize("name", ["tickets.npz", "tickets.json"])
@pytest.mark.parametrize("content", [b"", b"no such thing", None])
def test_broken_or_missing_files_are_an_error_that_names_the_folder(folder, name, content):
    path = f"{folder}/{name}"
    if content is None:
        import os

        os.remove(path)
    else:
        with open(path, "wb") as out:
            out.write(content)
    with pytest.raises(ValueError, match=r"tickets in .* are broken|holds no tickets"):
        Tickets.load(folder)


def test_a_truncated_archive_is_an_error(folder):
    path = f"{folder}/tickets.npz"
    with open(path, "rb") as stream:
        half = stream.read()[:-200]
    with open(path, "wb") as out:
        out.write(half)
    with pytest.raises(ValueError, match="are broken"):
        Tickets.load(folder)


def test_show_marks_the_chosen_rounds(folder):
    lines = [line.split() for line in show(folder).split("layer")[0].splitlines()]
    assert ["0", "100.0%", "0.7000", "100.0%", "0.3000"] in lines
    starred = {line[0]: [cell for cell in line if cell.endswith("*")] for line in lines if line}
    assert starred["1"] == ["0.7500*"]
    assert starred["2"] == ["0.1000*"]


def test_show_tells_density_and_overlap_of_every_layer(found, folder):
    text = show(folder)
    facts = found.facts
    for i, name in enumerate(("5x3", "3x2")):
        (line,) = [line for line in text.splitlines() if name in line]
        assert f"{facts['kept']['ctr']['layers'][i]:.1%}" in line
        assert f"{facts['overlap_layers'][i]:.3f}" in line
    assert f"{facts['overlap']:.3f}" in text.splitlines()[-1]


def test_show_draws_a_picture(folder, tmp_path):
    png = tmp_path / "tickets.png"
    assert str(png) in show(folder, str(png))
    import matplotlib.image

    pixels = matplotlib.image.imread(png)
    assert pixels.shape[:2] == (480, 1200)  # 10 x 4 inches at 120 dpi
    colours = {tuple(p) for p in pixels[::3, ::3, :3].reshape(-1, 3).round(2)}
    assert len(colours) > 5, "lines, stars and bars have colours of their own"
