"""Several processes on loopback train what one process trains."""

import io
import json
import logging
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models import trainer
from ncs4cvr.models.learning.batches import Batches
from ncs4cvr.models.pruning import starts
from ncs4cvr.models.pruning.tickets import Tickets
from ncs4cvr.models.together import launch, parts
from ncs4cvr.models.together.workers import Workers

pytestmark = pytest.mark.slow
# 300 rows are 50 steps of 6.
FIFTY = {"batch_size": 6, "max_epochs": 1}
TWO = {"distribution": "workers", "workers": 2}
SHARDED = {"distribution": "sharded", "workers": 2}
WAYS = pytest.mark.parametrize("ways", [TWO, SHARDED], ids=["whole tables", "shards"])


def _arrays(folder, name):
    arrays = np.load(io.BytesIO((folder / "run" / f"{name}.npz").read_bytes()))
    return [arrays[name] for name in sorted(arrays.files) if not name.startswith("words_")]


def _weights(folder):
    return _arrays(folder, "weights")


def _assert_alike(got, expected, relative=1e-4):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=relative * np.abs(b).max())


@pytest.fixture(scope="module")
def one(trained, recipe, fn_args, tmp_path_factory):
    """What one process makes of 50 steps."""
    folder = tmp_path_factory.mktemp("one")
    trainer.run_fn(fn_args(recipe.replace(**FIFTY), folder, tickets=trained.tickets))
    return folder


@pytest.fixture(scope="module", params=[TWO, SHARDED], ids=["whole tables", "shards"])
def two(request, trained, recipe, fn_args, tmp_path_factory):
    """What two make of them."""
    folder = tmp_path_factory.mktemp("two")
    trainer.run_fn(
        fn_args(recipe.replace(**FIFTY, **request.param), folder, tickets=trained.tickets)
    )
    return folder


def test_two_workers_train_the_weights_of_one_under_the_tickets(one, two):
    _assert_alike(_weights(two), _weights(one))


def test_two_workers_see_the_metrics_of_one(one, two):
    told = [json.loads((f / "run" / "training.json").read_text())["epochs"] for f in (one, two)]
    assert told[1][0] == pytest.approx(told[0][0], rel=1e-4)


def test_only_the_chief_writes(two):
    assert (two / "Format-Serving" / "saved_model.pb").is_file()
    assert len(list((two / "run").glob("events*"))) == 1
    assert not (two / "checkpoint").exists()


@WAYS
def test_two_workers_find_the_tickets_of_one(world, recipe, tmp_path, ways):
    recipe = recipe.replace(batch_size=6, rounds=2, warmup_steps=3)
    splits = (f"{world.folder}/train*", f"{world.folder}/valid*", f"{world.folder}/graph")
    found = []
    for name, changes in (("one", {}), ("two", ways)):
        folder = str(tmp_path / name)
        trainer.search_fn(recipe.replace(**changes).to_json(), *splits, folder)
        found.append(Tickets.load(folder))
    one, two = found
    for task, ticket in one.tickets.items():
        assert all((a == b).all() for a, b in zip(ticket, two.tickets[task], strict=True))
    _assert_alike(two.start, one.start)
    assert [r["steps"] for r in two.facts["rounds"]] == [50, 50, 50]


@WAYS
def test_two_workers_learn_the_soft_labels_of_one_and_go_on_with_its_search(
    world, recipe, fn_args, tmp_path, ways
):
    recipe = recipe.replace(**FIFTY, rounds=1, soft_labels="rounds")
    splits = (f"{world.folder}/train*", f"{world.folder}/valid*", f"{world.folder}/graph")
    for name, changes in (("one", {}), ("two", ways)):
        changed, folder = recipe.replace(**changes), tmp_path / name
        checkpoint = folder / "search"
        folder.mkdir()
        (folder / "a file").touch()
        with pytest.raises((RuntimeError, tf.errors.OpError)):  # its rounds end well
            trainer.search_fn(
                changed.to_json(), *splits, str(folder / "a file"), "", str(checkpoint)
            )
        assert list(checkpoint.rglob("*.index"))
        trainer.search_fn(changed.to_json(), *splits, str(folder / "found"), "", str(checkpoint))
        assert not checkpoint.exists()
        trainer.run_fn(fn_args(changed, folder, tickets=str(folder / "found")))
    _assert_alike(_weights(tmp_path / "two"), _weights(tmp_path / "one"))


@pytest.mark.e2e
def test_workers_with_files_of_their_own_train_on_the_union_of_their_batches(
    world, recipe, fn_args, tmp_path
):
    records = list(tf.data.TFRecordDataset(f"{world.folder}/train.gz", "GZIP").as_numpy_iterator())
    for name, part in (("a", records[:155]), ("b", records[155:])):
        with tf.io.TFRecordWriter(str(tmp_path / f"part-{name}.gz"), "GZIP") as out:
            for record in part:
                out.write(record)
    recipe = recipe.replace(sharing="shared_bottom", batch_size=20, max_epochs=1)
    arguments = fn_args(recipe.replace(**TWO), tmp_path)
    arguments.train_files = [str(tmp_path / "part-*")]
    trainer.run_fn(arguments)

    model = starts.build(recipe, world.sizes, world.train.no_rows())
    one, two = (
        Batches(f"{tmp_path}/part-*", world.graph, workers=Workers(model.distribute_strategy, i, 2))
        for i in range(2)
    )
    rows = []
    for a, b in zip(one.epoch(0, 20, 1), two.epoch(0, 20, 1)):
        batch = {name: tf.concat([a[name], b[name]], 0) for name in a}
        rows.append(len(batch["user"]))
        if not rows[-1]:
            break
        model.compiled_step(batch)
    assert rows == [20] * 14 + [15] + [5] + [0]  # 155 and 145 rows, ten a step
    _assert_alike(_weights(tmp_path), [w.numpy() for w in model.weights])


@pytest.mark.e2e
@WAYS
def test_two_workers_go_on_from_the_last_model_as_one_does(days, fn_args, tmp_path, ways):
    def run(day, name, last_run="", **changes):
        changes = {"sharing": "shared_bottom", "search_every_days": 0, "batch_size": 6, **changes}
        changes["warm_label_share"] = 0.5  # what the last model says is predicted together, too
        folder, data = tmp_path / name, day.world.folder
        args = fn_args(day.recipe.replace(**changes), folder, last_run=last_run)
        args.transform_output = f"{data}/graph"
        args.train_files, args.eval_files = [f"{data}/train*"], [f"{data}/valid*"]
        trainer.run_fn(args)
        return folder

    first, second = days
    last = str(run(first, "first") / "run")
    one, two = run(second, "one", last), run(second, "two", last, **ways)
    start = json.loads((two / "run" / "training.json").read_text())["start"]
    assert start["from"] == "2022-01-03"
    assert start["rows"] == 100  # of the day that the last model has not seen
    _assert_alike(_arrays(two, "weights"), _arrays(one, "weights"))
    _assert_alike(_arrays(two, "state"), _arrays(one, "state"))


@pytest.mark.e2e
@WAYS
def test_a_killed_worker_fails_the_step_and_the_next_run_ends_with_the_same_weights(
    recipe, fn_args, tmp_path, monkeypatch, caplog, ways
):
    recipe = recipe.replace(sharing="shared_bottom", batch_size=30, max_epochs=8, patience=9)
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    trainer.run_fn(fn_args(recipe, undisturbed))
    started, start = [], launch._start
    monkeypatch.setattr(launch, "_start", lambda *args: started.append(start(*args)) or started[-1])

    def kill_once_an_epoch_is_kept():
        # TensorFlow names what it wrote in a file `checkpoint`; of shards each worker has its own.
        writers = 2 if ways is SHARDED else 1
        while len(list(disturbed.glob("checkpoint/**/checkpoint"))) < writers:
            time.sleep(0.05)
        started[1].kill()

    threading.Thread(target=kill_once_an_epoch_is_kept, daemon=True).start()
    with pytest.raises(launch.WorkerFailed, match="killed: worker 1 by signal 9"):
        trainer.run_fn(fn_args(recipe.replace(**ways), disturbed))
    assert started[0].returncode == 1  # the chief noticed by itself
    with caplog.at_level(logging.INFO, "ncs4cvr"):
        trainer.run_fn(fn_args(recipe.replace(**ways), disturbed))
    assert "going on after epoch" in caplog.text
    _assert_alike(_weights(disturbed), _weights(undisturbed))
    told = [
        json.loads((f / "run" / "training.json").read_text())["epochs"]
        for f in (undisturbed, disturbed)
    ]
    for a, b in zip(*told, strict=True):
        # Looser than weights: of few rows, one pair that rounding ranks anew moves an AUC.
        assert b == pytest.approx(a, rel=1e-2)


def test_an_error_of_a_worker_is_the_steps(recipe, fn_args, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}')
    with pytest.raises(ValueError, match=r"TF_CONFIG cannot be read .*'index'"):
        trainer.run_fn(fn_args(recipe.replace(distribution="workers"), tmp_path))


DEVICES = """
import json, sys
import tensorflow as tf
from ncs4cvr.models import trainer
from ncs4cvr.models.together import parts
way, parts.COUNTED = sys.argv[1], int(sys.argv[2])
if way == "mirrored":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
trainer.train(**json.loads(sys.stdin.read()))
"""


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("way", "counted"),
    [("mirrored", parts.COUNTED), ("mirrored", 0), ("workers", 0), ("sharded", 0)],
    ids=["two devices", "hashed ids on them", "hashed ids on two workers", "hashed ids, shards"],
)
def test_two_devices_train_the_weights_of_one(
    one, trained, recipe, fn_args, tmp_path, way, counted
):
    count = 1 if way == "mirrored" else 2
    recipe = recipe.replace(**FIFTY, distribution=way, workers=count)
    arguments = json.dumps(vars(fn_args(recipe, tmp_path, tickets=trained.tickets)))
    configs = launch.loopback(2) if count > 1 else ["{}"]
    command = [sys.executable, "-c", DEVICES, way, str(counted)]
    started = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, text=True, env={**os.environ, "TF_CONFIG": config}
        )
        for config in configs
    ]
    for each in started:
        print(arguments, file=each.stdin, flush=True)
        each.stdin.close()
    assert [each.wait() for each in started] == [0] * len(configs)
    _assert_alike(_weights(tmp_path), _weights(one))
