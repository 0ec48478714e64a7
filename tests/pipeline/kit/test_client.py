"""The kit's client against servers of a small model."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

pytestmark = pytest.mark.filterwarnings("ignore")

GAP = -(2**63)
ROWS = [
    {"user": 10, "city": "Oslo", "price": 0.5, "history": [1, 2]},
    {"user": 30, "city": None, "price": 0.25, "history": []},
    {"user": 20, "price": None},
]


def command_line(kit: Path, endpoint: str, rows: list[dict], *options) -> list[str]:
    path = kit / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    host, port = endpoint.removeprefix("http://").split(":")
    where = ["--host", host, "--port", port, *(["--rest"] if "//" in endpoint else [])]
    return [str(kit / "client.py"), *where, "--input", str(path), *map(str, options)]


@pytest.fixture
def ask(run, monkeypatch, capsys, write):
    """Runs the kit's client and returns what it prints, a dict a line."""
    kit = write(run)

    def asked(*arguments) -> list[dict]:
        capsys.readouterr()
        command = command_line(kit, *arguments)
        monkeypatch.setattr(sys, "argv", command)
        runpy.run_path(command[0], run_name="__main__")
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return asked


def test_the_client_scores_every_row_over_both_apis(ask, endpoint, served):
    found = ask(endpoint, ROWS, "--batch", 2)
    assert [row["user"] for row in found] == [10, 30, 20]
    # See Small in conftest.py; an empty city takes .5 off the ctr.
    assert [row["ctr"] for row in found] == pytest.approx([0.1, -0.2, -0.3])
    assert [row["cvr"] for row in found] == pytest.approx([2.5, 0.25, 0])
    assert [row["ctcvr"] for row in found] == pytest.approx([0.25, -0.05, 0])
    assert [len(inputs["user"]) for _, inputs in served.asked] == [2, 1]
    assert served.asked[1][1]["history"].tolist() == [[GAP]]


def test_the_client_ranks_candidates_over_both_apis(ask, endpoint, served):
    user = {"user": 20, "city": "Oslo", "history": [4, 5, 6]}
    found = ask(endpoint, [user | {"price": p} for p in (0.5, 2.0, None, 1.0)], "--rank")
    # ctcvr = .2 * (price + 3)
    assert [row["price"] for row in found] == [2.0, 1.0, 0.5, None]
    assert [row["ctcvr"] for row in found] == pytest.approx([1.0, 0.8, 0.7, 0.6])
    ((signature, inputs),) = served.asked
    assert signature == "rank"
    assert inputs["user"].tolist() == [20]
    assert inputs["history"].tolist() == [[4, 5, 6]]
    assert len(inputs["price"]) == 4


def test_a_lone_output_keeps_its_name_over_both_apis(ask, served_one):
    rows = [{"user": 20, "city": "Oslo", "history": [4], "price": p} for p in (0.5, 2.0, None)]
    for options in ((), ("--rank", "--by", "watch")):
        found = ask(served_one.rest, rows, *options)
        assert found == ask(served_one.grpc, rows, *options)
        # watch = price + 1, for a history of one
        assert sorted(row["watch"] for row in found) == pytest.approx([1.0, 1.5, 3.0])
    assert [row["price"] for row in found] == [2.0, 0.5, None]


@pytest.mark.parametrize("api", ["grpc", "rest"])
def test_the_client_names_the_lone_output_that_there_is(ask, served_one, api):
    with pytest.raises(SystemExit, match="no output 'ctcvr' to rank by; there are: watch"):
        ask(getattr(served_one, api), ROWS, "--rank")


@pytest.mark.slow
def test_the_client_runs_where_nothing_of_ours_can_be_imported(run, served, ask):
    hidden = (
        "import sys, runpy; sys.modules['ncs4cvr'] = None; del sys.argv[0]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = command_line(run.parent / "kit", served.grpc, ROWS)
    done = subprocess.run(
        [sys.executable, "-I", "-c", hidden, *command], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [json.loads(line) for line in done.stdout.splitlines()] == ask(served.grpc, ROWS)


def test_a_line_ends_where_json_lines_end(ask, served):
    cities = ["a\x85b", "a\u2028b", "a\u2029b"]
    found = ask(served.grpc, [{"user": 10, "city": city, "price": 0.5} for city in cities])
    assert [row["city"] for row in found] == cities


def test_the_client_asks_for_the_label(ask, endpoint):
    assert len(ask(endpoint, ROWS, "--label", "")) == 3
    with pytest.raises(SystemExit, match="Servable not found for request: ncs4cvr canary"):
        ask(endpoint, ROWS, "--label", "canary")


def test_the_client_names_an_output_that_is_not_there(ask, served):
    told = "no output 'watch' to rank by; there are: ctcvr, ctr, cvr"
    with pytest.raises(SystemExit, match=told):
        ask(served.grpc, ROWS, "--rank", "--by", "watch")


def test_the_client_names_a_server_that_is_not_there(ask):
    with pytest.raises(SystemExit, match=r"127\.0\.0\.1: .*refused"):
        ask("http://127.0.0.1:1", ROWS)


def test_the_client_writes_gaps_as_the_model_wants_them():
    from ncs4cvr.pipeline.kit import client
    from ncs4cvr.schemas.log import MISSING

    kinds = {tf.int64: "int", tf.float32: "float", tf.string: "string"}
    assert {kinds[d]: repr(v) for d, v in client.MISSING.items()} == {
        k: repr(v) for k, v in MISSING.items()
    }
