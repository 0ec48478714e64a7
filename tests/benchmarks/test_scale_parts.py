"""The pages of Beam's steps and of a large day: their arithmetic, on files that are worked out."""

import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs/benchmarks"


def test_memory_of_a_table_is_sixteen_bytes_a_parameter():
    from scale_parts import formulas

    assert formulas.table_gb(4e8, formulas.TRAINED) == pytest.approx(16 * 4e8 / 1e9)
    assert formulas.table_gb(4e8, formulas.WARM + formulas.WRITTEN) == pytest.approx(36 * 0.4)
    assert formulas.int8_gb(16e8, 16) == pytest.approx(1.6 + 0.4)  # 1e8 rows, 4 bytes each


def test_the_dense_parameters_are_those_of_kuairand_whatever_the_order_of_the_rows():
    from scale_parts import sources

    every = {name: json.loads((DOCS / f"{name}.json").read_text()) for name in sources.NAMES}
    census = {"dataset": "census", "model": "ncs4cvr", "dense_params": 7}
    kuairand = {"dataset": "kuairand", "model": "ncs4cvr", "dense_params": 5}
    for rows in ([census, kuairand], [kuairand, census]):
        assert sources.training({**every, "quality": rows}).dense == 5


def test_a_search_is_as_many_passes_as_its_rows_cost_times_those_of_joint_training(told):
    from scale_parts import page, sources
    from scale_parts.formulas import Ask

    def searched(rows, cpu_s):
        """A run of continual.json."""
        steps = {"steps_processor_s": {"TicketSearch": cpu_s}, "steps_s": {"ModelGate": 1.0}}
        about = {"day": f"{rows}", "test_rows": 100, "tickets": {"searched": True}}
        return {**about, **steps, "start": {"from": "", "rows": rows}}

    every = {name: json.loads((DOCS / f"{name}.json").read_text()) for name in sources.NAMES[1:]}
    every["beam"] = told
    # 10 s of start-up and 250 µs a row; joint training needs 25.6 ms / 512 rows = 50 µs.
    cells = [searched(n, 10 + 250e-6 * n) for n in (40_000, 80_000, 160_000)]
    every["continual"] = {"about": told["about"], "cells": cells}
    # A pass takes 1 / 50,000 s + 20 / 2 µs a row: 30 hours of 3.6e9 rows.
    one = {"examples_s": 50_000.0, "cpu_ms_a_step": 25.6}
    every["workers"]["turns"] = [
        {**turn, "one": {**turn["one"], **one}} for turn in every["workers"]["turns"]
    ]
    steps = {step["name"]: step for step in every["overhead"]["run"]["timeline"]}
    for trainer in (1.0, 100.0):  # has passes and an export of its own
        steps["Trainer"]["seconds"] = trainer
        text = page.page(every, Ask(impressions=3.6e9, hours=1e9), 50, 100_000)
        assert "| Trainer, one pass | 30.0 | 1 |" in text
        assert "| TicketSearch | 150.0 | 1 |" in text
        assert "| 150.0 hours of one worker |" in text


def test_the_model_gate_is_measured_where_it_scores_the_last_blessed_model_too(told):
    from scale_parts import sources

    def cell(day, seconds):
        return {"day": day, "test_rows": 1000, "steps_s": {"ModelGate": seconds}}

    every = {name: json.loads((DOCS / f"{name}.json").read_text()) for name in sources.NAMES[1:]}
    cells = [cell("2000-01-01", 1.0), *(cell("2000-01-02", s) for s in (2.0, 3.0, 7.0))]
    judged = sources.judging({**every, "beam": told, "continual": {"cells": cells}})
    assert judged.hours("ModelGate", 1.2e6) == pytest.approx(1.0)  # 3 ms a row, 1,200,000 rows
    seconds = {s["name"]: s["seconds"] for s in every["overhead"]["run"]["timeline"]}
    # 100 test rows in told
    assert judged.hours("Evaluator", 100) == pytest.approx(seconds["Evaluator"] / 3600)


@pytest.mark.parametrize("rings", [1, 2])
def test_an_exchange_that_takes_as_long_as_the_arithmetic_fills_the_network(rings):
    from scale_parts import formulas

    batch, ids, dim, dense, rate, gbit = 4096, 50, 16, 300_000, 20_000.0, 10.0
    most = formulas.full_network(batch, ids, dim, dense, rate, gbit, rings)

    def needed(count):
        sent = formulas.sent_dense(dense, count)
        sent += formulas.sent_rows(count * batch, ids, dim, count, rings)
        return formulas.gbit_for(sent, formulas.step_s(count * batch, count, rate))

    assert needed(most) <= gbit < needed(most + 2)


def test_two_workers_each_send_all_dense_gradients_once():
    from scale_parts import formulas

    assert formulas.sent_dense(1000, 2) == 4 * 1000
    ids, row = 8 * 3, 4 * 16
    assert formulas.sent_rows(8, 3, 16, 2, formulas.WHOLE) == ids * row + ids * 8 / 2
    assert formulas.sent_rows(8, 3, 16, 2, formulas.CUT) == 2 * ids * row + ids * 8 / 2


def test_cuts_grow_with_the_square_of_the_rows_until_pieces_are_rows():
    from scale_parts import formulas

    assert formulas.pieces(2e6, 100_000, 50_000) == 4 * formulas.pieces(1e6, 100_000, 50_000)
    assert formulas.pieces(1e9, 100, 50) == 1e9  # every row a piece


def test_trainers_are_one_where_one_ends_in_time():
    from scale_parts import formulas

    assert formulas.trainers(1.9, 0.5, 2) == 1
    assert formulas.trainers(4.0, 0.5, 2) == 4


def a_step(name, rows, way):
    """A row as beam.json has it, of a step that works 5 s and a millisecond a row."""
    return {
        "name": name,
        "rows": rows,
        "wall_s": 5 + rows / 1e3,
        "cpu_s": 5 + rows / 1e3,
        "driver_before_mb": 700.0,
        "driver_mb": 800.0,
        "worker_mb": 900.0,
        "workers_mb": 1800.0,
        "engine_mb": 200.0,
        "temp_mb": rows / 1e4,
        "grouped_bytes": None if way == "portable" else 100 * rows,
        "output_bytes": 150 * rows,
        "places": [["TFDV's Python", 0.6], ["anything else", 0.4]] if way == "one" else None,
    }


@pytest.fixture
def told():
    """A beam.json, worked out and not measured."""
    cells = []
    for way, scale in [("one", 0.1), *((w, s) for w in ("one", "two", "portable") for s in (1, 4))]:
        rows = (("VideoLogExampleGen", 1000), ("StatisticsGen", 900), ("Transform", 800))
        steps = [a_step(name, int(n * scale), way) for name, n in rows]
        about = {"way": way, "scale": scale, "last": "Transform", "load": 0, "test_rows": 100}
        reading = {"rows": 1000 * scale, "wall_s": 2.0, "cpu_s": 0.02 * scale}
        cells.append({**about, "reading": reading, "steps": steps})
    return {"about": {"date": "2000-01-01", "machine": "2 x M"}, "cells": cells}


def test_the_page_of_beam_says_what_is_flat_and_what_grows(told):
    from beam_parts import page

    text = page.page(told)
    assert text.count(": flat") == 3 * 3
    assert "**grows**" not in text
    told["cells"][-1]["steps"][-1]["driver_mb"] = 1000.0
    assert page.page(told).count("**grows**") == 1


def test_the_page_of_beam_finds_start_up_and_cost(told):
    from beam_parts import page

    text = page.page(told)
    assert "| Transform | one | x 0.1, x 1, x 4 | 5.0 | 1,000 | 1,000 | 1.00 |" in text


def test_the_day_is_computed_from_the_files(told):
    from scale_parts import page, sources
    from scale_parts.formulas import Ask

    docs = Path(__file__).parents[2] / "docs/benchmarks"
    read = {n: json.loads((docs / f"{n}.json").read_text()) for n in sources.NAMES[1:]}
    text = page.page({"beam": told, **read}, Ask(impressions=36e6, hours=2.0), 50, 100_000)
    # 36e6 ms of processor, and 5 s of start-up, are 10 core-hours: 5 workers of 0.94 GB.
    assert "| Transform | 10 | 10 | 6 | 9 |" in text
    assert "| Trainer, one pass |" in text
    assert "{" not in text


def test_ids_of_an_example_are_those_of_the_recipe():
    import scale

    from ncs4cvr.pipeline.recipes.kuairand import FEATURES

    assert sum(f.kind == "sequence" for f in FEATURES) == 2
    assert (
        scale.ids_of_an_example(FEATURES) == len(FEATURES) - 3 + 2 * 20 + 8
    )  # two of 20, and tags


def test_a_worker_that_reads_from_files_trains_slower_by_the_readers_time():
    from beam_parts.growth import growth
    from scale_parts.sources import Search, Training

    # 10 ms for a thousand rows from memory, and 20 ms of a processor of two to read them.
    search = Search(growth([(1, 1.0), (2, 2.0)]), 1, 1.0)
    worker = Training(1e5, 20.0, 2, 512, 0.9, search, 1000, 100.0, 10**8, 0.9, 0.8, 0.1)
    assert worker.examples_s == pytest.approx(1000 / (0.010 + 0.010))
