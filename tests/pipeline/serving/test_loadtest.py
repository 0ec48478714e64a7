"""Load on real servers over gRPC and REST: every request is counted, and waiting counts."""

import json
import math
import socket
import time
from collections import Counter

import numpy as np
import pytest

from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.serving import loadtest
from ncs4cvr.pipeline.serving.endpoints import RequestFailed, Target
from ncs4cvr.pipeline.serving.loadtest import Load
from ncs4cvr.pipeline.status import FAULT, PUSHED, USAGE

pytestmark = pytest.mark.filterwarnings("ignore")


def load_test(endpoint, requests, tmp_path, *options):
    """Exit status, and the JSON if there is one."""
    out = tmp_path / "load.json"
    arguments = ["loadtest", endpoint, "--requests", str(requests), "--output", str(out)]
    status = main([*arguments, *map(str, options)])
    return status, json.loads(out.read_text()) if out.exists() else None


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# What is replayed ---------------------------------------------------------------------------


def test_the_warm_up_requests_are_replayed_in_turns(endpoint, served, serving, tmp_path):
    status, found = load_test(endpoint, serving, tmp_path, "--duration", 0.5, "--connections", 2)
    assert status == PUSHED
    assert found["failed"] == 0
    assert found["answered"] == len(served.asked) - 2  # one of each signature before the load
    assert found["signatures"] == ["rank", "serving_default"]
    asked = Counter(signature for signature, _ in served.asked)
    assert abs(asked["rank"] - asked["serving_default"]) <= 2  # the connections
    for signature, inputs in served.asked:
        if signature == "rank":
            assert inputs["city"].tolist() == [b""]
            assert inputs["price"].tolist() == [0.5, 0.25, 1.0]
        else:
            assert len(inputs["examples"]) == 2
    # A rank request has three rows, the other two.
    rows = found["rows_per_s"] / found["requests_per_s"]
    assert rows == pytest.approx(2.5, abs=1 / found["answered"] + 1e-6)


def test_one_signature_of_the_warm_up_file(endpoint, served, serving, tmp_path):
    options = ("--signature", "rank", "--duration", 0.2, "--label", "stable")
    status, found = load_test(endpoint, serving / "7", tmp_path, *options)
    assert status == PUSHED
    assert found["signatures"] == ["rank"]
    assert {signature for signature, _ in served.asked} == {"rank"}


def test_a_file_of_rows_becomes_requests_of_a_batch_each(endpoint, served, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"user": n, "city": "Oslo", "price": n / 4, "history": [1] * n} for n in range(5)]
    rows[2] |= {"city": None, "price": None}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    status, _ = load_test(endpoint, path, tmp_path, "--duration", 0.2, "--batch", 3)
    assert status == PUSHED
    users = {tuple(inputs["user"].tolist()) for _, inputs in served.asked}
    assert users == {(0, 1, 2), (3, 4)}
    first = next(inputs for _, inputs in served.asked if len(inputs["user"]) == 3)
    assert first["city"].tolist() == [b"Oslo", b"Oslo", b""]
    assert np.isnan(first["price"]).tolist() == [False, False, True]
    assert first["history"].shape == (3, 2)


def test_rows_become_the_candidates_of_ranking_requests(served, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"user": n, "city": "Oslo", "price": n / 4, "history": [n]} for n in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ("--duration", 0.2, "--batch", 2, "--signature", "rank")
    status, _ = load_test(served.grpc, path, tmp_path, *options)
    assert status == PUSHED
    asked = {
        (*inputs["user"].tolist(), *inputs["history"][0].tolist(), *inputs["price"].tolist())
        for _, inputs in served.asked
    }
    assert asked == {(0, 0, 0.0, 0.25), (2, 2, 0.5, 0.75)}


# Counting -----------------------------------------------------------------------------------


def test_percentiles_are_nearest_rank():
    # Of 1 to 1000 ms, so many per cent are at most so many ms.
    found = loadtest.percentiles(np.arange(1, 1001)[::-1] / 1000)
    assert found == pytest.approx({"p50": 500, "p90": 900, "p99": 990, "p99.9": 999})


def test_no_answer_is_faster_than_the_server(endpoint, served, serving, tmp_path):
    served.delay_s = 0.05
    _, found = load_test(endpoint, serving, tmp_path, "--duration", 1, "--connections", 3)
    assert found["latency_ms"]["p50"] >= 50
    # Three connections, 50 ms an answer, started within one second: 20 each at most.
    assert 3 <= found["answered"] <= 60
    assert found["requests_per_s"] <= 60


def test_arrivals_are_as_many_as_the_rate_says(endpoint, serving, tmp_path):
    options = ("--duration", 1, "--rate", 30, "--connections", 4)
    _, found = load_test(endpoint, serving, tmp_path, *options)
    assert found["answered"] + found["failed"] == 30


def test_what_waits_for_a_free_connection_counts_as_slow(endpoint, served, serving, tmp_path):
    served.delay_s = 0.1
    # 20 arrivals a second, 50 ms apart, one connection that takes 100 ms: arrival n is answered
    # at (n + 1) * 100 ms at the earliest and arrived at n * 50 ms, so it takes 100 + 50 n ms.
    options = ("--duration", 1, "--rate", 20, "--connections", 1)
    _, found = load_test(endpoint, serving, tmp_path, *options)
    assert found["answered"] == 20
    latency = found["latency_ms"]
    assert latency["max"] >= 100 + 50 * 19
    assert latency["p50"] >= 100 + 50 * 9  # the tenth of twenty
    assert latency["mean"] >= 100 + 50 * 9.5


def test_arrivals_that_find_no_connection_in_time_are_failures(served, serving, tmp_path):
    served.delay_s = 0.3
    # One connection, ten arrivals in one second, and one second of patience: by 2 s at most seven
    # were sent (at 0, .3, ... 1.8).
    options = ("--duration", 1, "--rate", 10, "--connections", 1, "--timeout", 1)
    status, found = load_test(served.grpc, serving, tmp_path, *options)
    assert status == FAULT
    assert found["answered"] + found["failed"] == 10
    assert found["errors"][loadtest.UNSENT]["count"] >= 3


def test_every_failure_is_counted_by_its_kind(endpoint, served, serving, tmp_path, capfd):
    served.fails = lambda number: number % 5 == 4
    status, found = load_test(endpoint, serving, tmp_path, "--rate", 50, "--duration", 1)
    assert status == FAULT
    kind = "HTTP 500" if endpoint == served.rest else "INTERNAL"
    assert list(found["errors"]) == [kind]
    assert found["errors"][kind]["count"] == found["failed"] == 10  # of 2 + 50 requests
    assert found["answered"] == 40
    assert "the disk is on fire" in found["errors"][kind]["first"]
    printed = capfd.readouterr().out
    assert f"10 x {kind}" in printed
    assert "p99.9" in printed


def test_a_server_that_answers_too_late_is_a_failure(endpoint, served, serving, tmp_path):
    served.fails = lambda number: number >= 2 and time.sleep(2)  # None: it does not fail
    options = ("--rate", 4, "--duration", 1, "--timeout", 1, "--connections", 4)
    status, found = load_test(endpoint, serving, tmp_path, *options)
    assert status == FAULT
    kind = "timeout" if endpoint == served.rest else "DEADLINE_EXCEEDED"
    assert found["errors"][kind]["count"] == 4
    assert found["latency_ms"] is None


def test_a_fault_of_the_generator_is_not_swallowed():
    class Broken:
        def send(self, body):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loadtest.run(Load(connections=1, duration_s=0.1), [Broken()], [(b"", 1)])


def test_progress_is_told_every_second(served):
    class Sleeper:
        def send(self, body):
            time.sleep(0.3)
            raise RequestFailed("odd", "")

    told = []
    load = Load(connections=1, duration_s=2.1)
    found = loadtest.run(load, [Sleeper()], [(b"", 1)], lambda *line: told.append(line))
    assert [second for second, _ in told][:2] == [1, 2]
    assert "no answer" in told[0][1]
    assert found["failed"] >= 3
    assert found["latency_ms"] is None


# The result's file --------------------------------------------------------------------------


def test_a_folder_that_is_missing_is_told_before_the_load(served, serving, tmp_path, capfd):
    arguments = ["loadtest", served.grpc, "--requests", str(serving), "--duration", "0.1"]
    out = tmp_path / "nowhere/load.json"
    assert main([*arguments, "--output", str(out)]) == USAGE
    assert f"{out}: there is no folder {out.parent}; make it" in capfd.readouterr().err
    assert served.asked == []


def test_a_result_that_cannot_be_kept_is_printed(served, serving, capfd):
    arguments = ["loadtest", served.grpc, "--requests", str(serving), "--duration", "0.1"]
    assert main([*arguments, "--output", "/dev/full"]) == FAULT  # a disk without room
    told = capfd.readouterr()
    assert "requests/s" in told.out
    assert "No space left on device" in told.err


# What cannot be tested ----------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_dead_server_is_named(serving, tmp_path, capfd, scheme):
    endpoint = f"{scheme}127.0.0.1:{unused_port()}"
    status, found = load_test(endpoint, serving, tmp_path, "--timeout", 1)
    assert (status, found) == (FAULT, None)
    assert f"no server at {endpoint}" in capfd.readouterr().err


def test_an_unknown_model_is_named(endpoint, serving, tmp_path, capfd):
    assert load_test(endpoint, serving, tmp_path, "--model", "other") == (FAULT, None)
    told = capfd.readouterr().err
    assert f"{endpoint} has no model 'other'" in told
    assert "Servable not found" in told


def test_an_unknown_label_is_named(endpoint, serving, tmp_path, capfd):
    assert load_test(endpoint, serving, tmp_path, "--label", "canary") == (FAULT, None)
    assert "with the label 'canary'" in capfd.readouterr().err


def test_a_signature_that_no_request_is_for(endpoint, serving, tmp_path, capfd):
    assert load_test(endpoint, serving, tmp_path, "--signature", "regress") == (USAGE, None)
    told = capfd.readouterr().err
    assert "no request for the signature 'regress'; it has some for: rank, serving_default" in told


def test_a_signature_that_the_model_lacks(endpoint, tmp_path, capfd):
    (tmp_path / "rows.jsonl").write_text('{"user": 1}\n')
    options = (tmp_path / "rows.jsonl", tmp_path, "--signature", "regress")
    assert load_test(endpoint, *options) == (USAGE, None)
    told = capfd.readouterr().err
    assert (
        "no signature 'regress'; give one with --signature: predict, rank, serving_default" in told
    )


def test_rows_without_a_column_that_the_model_wants(endpoint, tmp_path, capfd):
    (tmp_path / "rows.jsonl").write_text('{"user": 1, "citi": "Oslo", "price": 1}\n')
    assert load_test(endpoint, tmp_path / "rows.jsonl", tmp_path) == (USAGE, None)
    assert "lacks 2 of the model's 4 columns: city (is it citi?), history" in capfd.readouterr().err


def test_the_server_s_reason_for_refusing_is_told(endpoint, serving, served, tmp_path, capfd):
    served.fails = lambda number: True
    assert load_test(endpoint, serving, tmp_path) == (FAULT, None)
    assert "does not answer the first request" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["nothing", "text"])
def test_files_that_hold_no_requests_are_named(served, tmp_path, capfd, name):
    (tmp_path / "text").write_text("not a record file")
    assert load_test(served.grpc, tmp_path / name, tmp_path) == (USAGE, None)
    assert str(tmp_path / name) in capfd.readouterr().err


@pytest.mark.parametrize(
    "address", ["localhost", "localhost:port", "ftp://host:1", "http://host", "host:1/v1", ""]
)
def test_what_is_no_endpoint_is_refused(address):
    with pytest.raises(ValueError, match="expected host:port"):
        Target(address, "ncs4cvr")


@pytest.mark.parametrize(
    "wrong", [{"connections": 0}, {"duration_s": math.inf}, {"rate": -1.0}, {"patience_s": 0}]
)
def test_a_load_has_positive_numbers(wrong):
    with pytest.raises(ValueError, match="must be positive and finite"):
        Load(**wrong)
