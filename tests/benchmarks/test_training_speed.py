"""The benchmark of training speed counts the work of a step, and no more."""

import json

import pytest
import tensorflow as tf

from ncs4cvr.models.learning.ranker import compiled
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Label, Log
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Task

INPUTS, HIDDEN, BATCH, FIELDS, DIM = 9, (6, 4), 32, 2, 4


@pytest.fixture
def profiling():
    from training_parts import profiling

    return profiling


@pytest.fixture
def step():
    """A model of two fields, 9 inputs of its dense layers, with a batch."""
    recipe = Recipe(
        "tiny",
        Log(events="", labels=(Label("click", "click"), Label("buy", "buy", given="click"))),
        (Feature("user"), Feature("video")),
        (Task("ctr", "click"), Task("cvr", "buy", given="click")),
        embedding_dim=DIM,
        hidden=HIDDEN,
    )
    names = ("user", "video", "click", "buy")
    batch = {name: tf.ones([BATCH], tf.int64) for name in names}
    model = compiled(recipe, {"user": 5, "video": 9})
    model(batch)
    model.optimizer.build(model.trainable_variables)
    return model, batch


def test_flops_of_a_step_are_three_times_those_of_its_forward_pass(step, profiling):
    wanted = profiling.products(*step)
    forward = 2 * BATCH * (INPUTS * 6 + 6 * 4 + 4 * 1)
    assert sum(map(profiling.flops, wanted)) == 3 * 2 * forward
    assert len(wanted) == 3 * 2 * 3


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        (((2, 3), (3, 5), False, False), 2 * 2 * 3 * 5),
        (((3, 2), (3, 5), True, False), 2 * 2 * 3 * 5),
        (((2, 3), (5, 3), False, True), 2 * 2 * 3 * 5),
        (((1, 2, 3), (7, 3, 5), False, False), 7 * 2 * 2 * 3 * 5),
    ],
)
def test_flops_are_two_m_n_k(product, expected, profiling):
    assert profiling.flops(product) == expected


def test_the_products_alone_can_be_run(step, profiling):
    wanted = profiling.products(*step)
    assert profiling.alone(wanted)().shape == (len(wanted),)
    profiling.one_by_one(wanted)()


def test_the_profiler_finds_every_part_and_the_waiting(step, profiling):
    model, batch = step
    left = iter(tf.data.Dataset.from_tensors(batch).repeat())
    parts, waited = profiling.shares(lambda: model.compiled_steps(left, tf.constant(3)))
    assert sum(parts.values()) == pytest.approx(1)
    assert {"dense products", "optimizer", "interaction", "embeddings"} <= set(parts)
    assert 0 < waited < 1


def test_the_page_is_written_from_the_json_alone(tmp_path):
    from training_parts import page

    names = (page.OURS, "single_task", page.TOWERS, page.WITH_INPUT, page.PRODUCTS)
    clocks = {f"{c}_{k}": 2.0 for c in ("wall", "cpu") for k in ("ms", "to_floor", "to_towers")}
    more = {"gflop": 1.0, "parts": {"dense products": 0.7, "optimizer": 0.3}, "waited": 0.01}
    cells = [{"threads": t, "batch": 8, "name": n, **clocks, **more} for t in (1, 2) for n in names]
    keys = ("date", "machine", "tensorflow", "recipe", "turns", "load_average")
    about = dict.fromkeys(keys, "x")
    (tmp_path / "training.json").write_text(json.dumps({"about": about, "cells": cells}))
    page.write(tmp_path)
    text = (tmp_path / "training.md").read_text()
    assert "at least 60 % | 50.0% | 50.0% |" in text
    assert "1.00 times as fast as with one, ncs4cvr's step 1.00 times." in text
    assert (tmp_path / "training.png").stat().st_size > 1000
