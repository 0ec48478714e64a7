"""The page tells the verdict, every decision and where the time went."""

import json

import numpy as np
import pytest

from continual_cells import DAYS, three_days


def page_of(folder, cells):
    from continual_parts import page

    about = {
        "date": "2022-06-01",
        "machine": "2 x processor",
        "recipe": "kuairand",
        "set": [],
        "days": [*DAYS],
        "test_days": 2,
        "seeds": [1],
    }
    interval = {output: [-0.001, 0.003] for output in ("ctr", "cvr", "ctcvr")}
    page.write_json(folder, {"about": about, "cells": cells, "intervals": {"warm": interval}})
    page.write(folder)
    return (folder / "continual.md").read_text()


def test_the_page_says_whether_the_target_is_met(tmp_path):
    text = page_of(tmp_path, three_days(warm_seconds=40.0, warm_cvr=0.67))
    assert "**Target met.** It takes 0.40 of the seconds" in text
    assert "| `warm` | 2 | 40 | **0.40** | 60 | **0.40** |" in text
    assert "| **+0.0100** | [-0.0010, +0.0030] | +0.0100, +0.0100 |" in text
    assert "One seed (1)." in text
    assert "tested on 2 days, so that neighbours share" in text
    assert "the machine's noise: 100, 100 s." in text
    assert (tmp_path / "continual.png").stat().st_size > 0


def test_a_target_that_is_missed_is_told_as_loudly(tmp_path):
    text = page_of(tmp_path, three_days(warm_seconds=75.0, warm_cvr=0.65))
    assert "**Target missed.** It takes 0.75 of the seconds (at most 0.5: missed)." in text
    assert "0.0100 lower (at most 0.001 lower: missed" in text


def test_the_page_tells_every_decision_and_refusal(tmp_path):
    cells = three_days()
    cells[-1] |= {"verdict": "not blessed", "why": ["cvr_auc is low"]}
    cells[2] |= {"verdict": "data refused", "why": ["rows on a day"], "auc": {}}
    del cells[2]["steps_s"], cells[2]["start"], cells[2]["tickets"], cells[2]["test_rows"]
    text = page_of(tmp_path, cells)
    assert "- 2022-05-04 `warm`: not blessed: cvr_auc is low" in text
    assert "- 2022-05-03 `fresh`: data refused: rows on a day" in text
    went_on = "of 2022-04-29 | of 2022-04-29 | from 2022-04-29's model | 500"
    assert f"| 1,000 | 40 | {went_on} | not blessed |" in text
    assert "| new | new | fresh | 9,000 | pushed |" in text
    assert "Nothing was refused" not in text


def test_the_steps_and_what_is_beside_them_add_up_to_the_command(tmp_path):
    text = page_of(tmp_path, three_days())
    rows = [line.strip("| \n").split(" | ") for line in text.split("## Where the")[1].splitlines()]
    told = [row for row in rows if len(row) == 3 and row[1][0].isdigit()]
    *parts, whole = [[float(cell.split()[0]) for cell in row[1:]] for row in told]
    assert [row[0] for row in told][-2:] == ["all else", "the command"]
    assert np.sum(parts, axis=0) == pytest.approx(whole)


def test_without_both_arms_nothing_is_decided(tmp_path):
    text = page_of(tmp_path, [c for c in three_days() if c["arm"] == "warm"])
    assert "**Not decided**" in text
    assert json.loads((tmp_path / "continual.json").read_text())["cells"]
