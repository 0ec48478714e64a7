"""Copies of a log, growth, what is seen of processes, against what can be worked out by hand."""

import doctest
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

USERS = 4
EVENTS = {"user_id": [1, 2, 1, 3], "video_id": [7, 7, 8, 9], "is_click": [1, 0, 0, 1]}


@pytest.fixture
def source(tmp_path):
    """A log of four users, of whom one has history alone."""
    folder = tmp_path / "source"
    folder.mkdir()
    tables = {
        "events": EVENTS,
        "user_features": {"user_id": [1, 2, 3], "age": [10, 20, 30]},
        "video_features_basic": {"video_id": [7, 8, 9], "tag": ["a", "b", "c"]},
        "history": {"user_id": [1, 4], "video_id": [9, 9], "steps_before_cutoff": [0, 0]},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder


def written(folder, name):
    return pa.concat_tables(
        [pq.read_table(p) for p in sorted(folder.glob(f"{name}-*.parquet"))],
    )


@pytest.fixture
def copied(source, tmp_path):
    from beam_parts import logs

    rows = logs.write(source, 3, tmp_path / "log")
    return rows, tmp_path / "log"


def test_a_log_of_three_copies_has_three_times_the_rows_and_users(copied):
    rows, folder = copied
    events = written(folder, "events")
    assert rows == events.num_rows == 3 * 4
    assert len(events["user_id"].unique()) == 3 * len(set(EVENTS["user_id"]))


def test_every_copy_of_a_user_keeps_what_the_user_did(copied):
    _, folder = copied
    events, users = written(folder, "events"), written(folder, "users")
    ages = dict(zip(users["user_id"].to_pylist(), users["age"].to_pylist()))
    seen: dict[int, list] = {}
    for row in events.to_pylist():
        seen.setdefault(row["user_id"], []).append((row["video_id"], row["is_click"]))
    stories = sorted((ages[user], tuple(did)) for user, did in seen.items())
    once = [(10, ((7, 1), (8, 0))), (20, ((7, 0),)), (30, ((9, 1),))]
    assert stories == sorted(once * 3)


def test_copies_share_no_user_in_any_file_but_the_same_videos(copied):
    _, folder = copied
    for name in ("events", "users", "history"):
        copies = [set(pq.read_table(p)["user_id"].to_pylist()) for p in folder.glob(f"{name}-*")]
        assert len(set.union(*copies)) == sum(map(len, copies))
    history, users = (set(written(folder, n)["user_id"].to_pylist()) for n in ("history", "users"))
    assert len(history | users) == 3 * USERS  # who has history alone is moved as far
    assert len(list(folder.glob("videos-*"))) == 1


def test_the_first_copy_is_the_log_as_it_is(copied, source):
    _, folder = copied
    first = pq.read_table(folder / "events-000.parquet")
    assert first.equals(pq.read_table(source / "events.parquet"))


def test_a_part_of_the_log_has_whole_users(source, tmp_path):
    from beam_parts import logs

    logs.write(source, 0.003, tmp_path / "part")  # of ids that end in 000 to 002
    events = written(tmp_path / "part", "events")
    assert events["user_id"].to_pylist() == [1, 2, 1]
    assert written(tmp_path / "part", "history")["user_id"].to_pylist() == [1]


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
def test_growth_finds_the_exponent_of_a_power(exponent):
    from beam_parts.growth import growth

    # Nearly nothing on the smallest log, so the line through it starts where the power does.
    found = growth([(rows, 10 + rows**exponent) for rows in (1e-6, 1e3, 4e3)])
    assert found.exponent == pytest.approx(exponent, abs=0.01)
    assert found.at(4e3) == pytest.approx(10 + 4e3**exponent, rel=1e-6)


def test_growth_of_two_logs_is_a_line():
    from beam_parts.growth import growth

    found = growth([(100, 30.0), (300, 50.0)])
    assert (found.start, found.per_row, found.measured) == (20.0, 0.1, False)
    assert found.at(1000) == pytest.approx(120)


def test_an_exponent_below_one_is_not_extrapolated():
    from beam_parts.growth import growth

    found = growth([(0, 0.0), (1, 10.0), (4, 20.0)])
    assert found.exponent == pytest.approx(0.5)
    assert found.at(400) == pytest.approx(20 / 4 * 400)


def test_growth_of_one_log_is_refused():
    from beam_parts.growth import growth

    with pytest.raises(ValueError, match="two sizes"):
        growth([(1, 1.0)])


def test_a_step_tells_peaks_and_work_of_its_own_time():
    from beam_parts.watch import DRIVER, WORKER, Sample, between

    samples = [
        Sample(0.0, 1.0, {DRIVER: (100.0,)}),
        Sample(1.0, 3.0, {DRIVER: (150.0,), WORKER: (10.0, 30.0)}),
        Sample(2.0, 6.0, {DRIVER: (120.0,), WORKER: (25.0,)}, 7.0),
        Sample(3.0, 9.0, {DRIVER: (999.0,)}),
    ]
    assert between(samples, 0.5, 2.5) == {
        "cpu_s": 5.0,
        "driver_before_mb": 100.0,
        "driver_mb": 150.0,
        "worker_mb": 30.0,
        "workers_mb": 40.0,
        "engine_mb": 0.0,
        "temp_mb": 7.0,
    }


def test_processes_of_a_session_are_seen_with_their_time_and_memory(tmp_path):
    from beam_parts.watch import DRIVER, Watch, between

    code = (
        "import time; x = bytearray(50_000_000); e = time.time() + 0.6\nwhile time.time() < e: pass"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    began = time.monotonic()
    with Watch({process.pid: DRIVER}, tmp_path) as watch:
        process.wait()
    seen = between(watch.samples, began, time.monotonic())
    assert seen["driver_mb"] > 50_000_000 / 2**20
    assert 0.1 < seen["cpu_s"] < 1.5


def test_workers_are_known_by_their_command(tmp_path):
    from beam_parts.watch import WORKER, Watch, between

    code = "import time; time.sleep(9)  # apache_beam.runners.worker.sdk_worker"
    process = subprocess.Popen([sys.executable, "-c", code])
    with Watch({os.getsid(0): "none of these"}, tmp_path) as watch:
        time.sleep(0.5)
    process.kill()
    process.wait()
    assert between(watch.samples, 0, time.monotonic())["worker_mb"] > 1
    assert WORKER in watch.samples[-1].held


def test_temporary_files_are_told_from_others(tmp_path):
    from beam_parts.watch import temporary_mb

    for folder in (".temp/7", "kept"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_bytes(bytes(2**20))
    assert temporary_mb(tmp_path) == 1.0


def test_what_belongs_to_no_library_counts_for_its_caller():
    from beam_parts import stacks

    site = "/x/site-packages"
    bundle = [f"{site}/apache_beam/pvalue.py", f"{site}/apache_beam/runners/worker/sdk_worker.py"]
    assert stacks.place([f"{site}/numpy/core.py", *bundle]) == stacks.BUNDLE
    assert stacks.place(bundle[:1]) == stacks.BEAM
    assert stacks.place(["/usr/lib/python3/threading.py"]) == stacks.OTHER
    assert stacks.place([f"{site}/tensorflow/python/lib/io/a.py", *bundle]) == stacks.FILES


def test_shares_of_time_sum_to_one():
    from collections import Counter

    from beam_parts import stacks

    found = stacks.shares(Counter({"a": 1, "b": 3}))
    assert found == [("b", 0.75), ("a", 0.25)]


def test_only_cells_of_this_version_count_as_made(tmp_path):
    from beam_parts import cells

    cell = cells.CELLS[0]
    assert cells.kept(cell, tmp_path, "now") is None
    (tmp_path / f"{cell.name}.json").write_text('{"version": "then"}')
    assert cells.kept(cell, tmp_path, "now") is None
    assert cells.kept(cell, tmp_path, "then") == {"version": "then"}


def test_another_day_is_the_same_version_and_another_machine_is_not():
    from beam_parts import cells

    one = cells.version({"date": "2000-01-01", "machine": "1 x M"})
    assert one == cells.version({"date": "2000-01-02", "machine": "1 x M"})
    assert one != cells.version({"date": "2000-01-01", "machine": "2 x M"})


def test_the_engine_ends_with_its_block(tmp_path):
    from beam_parts import engine

    with engine.started(engine.PORTABLE, tmp_path) as (settings, sessions):
        assert all(os.getsid(number) == number for number in sessions)
        assert settings[0] == "runner=PortableRunner"
    for number in sessions:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


def test_what_a_process_started_ends_with_it(tmp_path):
    from beam_parts import engine

    code = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(60)']); print(p.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)
    child = Path(f"/proc/{int(process.stdout.readline())}/stat")
    engine.ended(process)
    assert process.returncode
    end = time.monotonic() + 10
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < end
        time.sleep(0.05)


DOCTESTED = (
    "beam_parts.growth",
    "beam_parts.stacks",
    "beam_parts.watch",
    "page_parts.markdown",
    "scale_parts.formulas",
)


@pytest.mark.parametrize("module", DOCTESTED)
def test_docstring_examples_run(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted
    assert result.failed == 0
