"""Who trains together, as TF_CONFIG and the recipe say."""

import json
import queue
import subprocess
import sys
from types import SimpleNamespace

import pytest
import tensorflow as tf

from ncs4cvr.models.together import launch
from ncs4cvr.models.together.launch import WorkerFailed, _follow, loopback
from ncs4cvr.models.together.workers import assemble, place

WORKERS = {"worker": ["a:1", "b:1"]}
CHIEF = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}


def _config(cluster, job="worker", index=0):
    return json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (_config(WORKERS), (0, 2)),
        (_config(WORKERS, index=1), (1, 2)),
        (_config(CHIEF, "chief"), (0, 3)),
        (_config(CHIEF, index=1), (2, 3)),
    ],
)
def test_a_process_finds_its_place(config, expected):
    assert place(config) == expected


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("", 'TF_CONFIG is not set: expected e.g. {"cluster"'),
        ("{", "cannot be read"),
        ('{"cluster": {"worker": ["a:1"]}}', "cannot be read .*'task'"),
        (_config({}), "must list one chief"),
        (_config({"worker": []}), "must list one chief"),
        (_config({"chief": ["a:1", "b:1"]}, "chief"), "must list one chief"),
        (_config({"ps": ["a:1"], **WORKERS}), r"jobs \['ps'\].*leave the others out"),
        (_config({"worker": ["a:1", "a:1"]}), "lists an address twice"),
        (_config(WORKERS, index=2), "worker 2, which its cluster does not list"),
        (_config(WORKERS, "chief"), "chief 0, which its cluster does not list"),
    ],
)
def test_a_contradictory_cluster_is_refused_with_a_cure(config, told):
    with pytest.raises(ValueError, match=told):
        place(config)


def test_a_cluster_of_another_size_than_the_recipes_is_refused():
    with pytest.raises(ValueError, match=r"workers=3, TF_CONFIG lists 2.*leave `workers` out"):
        place(_config(WORKERS), wanted=3)


@pytest.mark.parametrize(
    ("have", "count", "expected"),
    [
        ([0, 1], 1, [[0, 1]]),
        ([0, 1, 4, 5, 6], 2, [[0, 4, 6], [1, 5]]),
        ([2, 3], 3, [[2], [3], [2]]),
    ],
)
def test_workers_of_one_machine_have_cores_of_their_own(have, count, expected, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(have))
    assert [launch.cores(index, count) for index in range(count)] == expected


def test_a_batch_that_the_cluster_cannot_divide_is_refused(recipe):
    config = {"TF_CONFIG": _config(CHIEF)}
    with pytest.raises(ValueError, match=r"batch_size=64 cannot be divided among 3.*batch_size=66"):
        assemble(recipe.replace(distribution="workers"), config)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"workers": 2}, "workers=2 needs distribution='workers' or 'sharded'"),
        ({"distribution": "mirrored", "workers": 2}, "got 'mirrored'"),
        ({"distribution": "workers", "workers": 3}, "cannot be divided among 3"),
        ({"distribution": "worker"}, "did you mean 'workers'"),
        ({"distribution": "workers", "workers": 0}, "workers must lie in"),
    ],
)
def test_a_recipe_that_cannot_be_divided_is_refused(recipe, changes, told):
    with pytest.raises(ValueError, match=told):
        recipe.replace(**changes)


def test_a_worker_with_a_shard_of_its_own_has_one_device(recipe, monkeypatch):
    four = SimpleNamespace(num_replicas_in_sync=4)
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda: four)
    config = {"TF_CONFIG": loopback(2)[1]}
    assert assemble(recipe.replace(distribution="workers"), config).index == 1
    with pytest.raises(ValueError, match="2 have 4: start a worker for each"):
        assemble(recipe.replace(distribution="sharded"), config)


def test_one_device_needs_no_cluster(recipe):
    workers = assemble(recipe, {})
    assert (workers.index, workers.count, workers.chief) == (0, 1, True)
    assert workers.total(7) == 7


def test_the_workers_of_one_machine_get_a_cluster_of_different_ports():
    configs = loopback(4)
    assert [place(config) for config in configs] == [(i, 4) for i in range(4)]


def _said(*what):
    said = queue.Queue()
    for each in what:
        said.put(each)
    return said


def test_the_error_that_the_others_came_from_is_told():
    lost = {"error": "Connection reset", "kind": "UnavailableError"}
    own = {"error": "the loss is nan", "kind": "ValueError"}
    with pytest.raises(ValueError, match="the loss is nan"):
        _follow(_said((0, lost), (0, 1), (1, own), (1, 1)), 2)


def test_a_killed_worker_is_named():
    lost = {"error": "Connection reset", "kind": "UnavailableError"}
    with pytest.raises(WorkerFailed, match="worker 1 by signal 9"):
        _follow(_said((1, -9), (0, lost), (0, 1)), 2)


def test_workers_that_end_well_raise_nothing():
    _follow(_said((1, 0), (0, 0)), 2)


def test_a_worker_that_ends_before_it_reads_its_job_is_named(recipe, monkeypatch):
    def ended(config):
        command, pipe = [sys.executable, "-c", "raise SystemExit(3)"], subprocess.PIPE
        started = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        started.wait()
        return started

    monkeypatch.setattr(launch, "_start", ended)
    with pytest.raises(WorkerFailed, match="worker 0 ended with status 3"):
        launch.together("search", {}, recipe.replace(distribution="workers", workers=2))
