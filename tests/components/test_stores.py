"""Versions on an object store, gs:// in TensorFlow's own code: none is ever half there."""

import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import tensorflow as tf
from tfx.dsl.io import fileio

from ncs4cvr.components import checksums, pusher, retention, stores, versions
from object_store import ObjectStore

FILES = (
    "assets/tickets.bin",
    "saved_model.pb",
    "variables/variables.data-00000-of-00001",
    "variables/variables.index",
)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    store = ObjectStore(tmp_path_factory.mktemp("store"))
    yield store
    store.close()


@pytest.fixture
def store(running, monkeypatch):
    for key, value in running.environment.items():
        monkeypatch.setenv(key, value)
    for key in ("HTTPS_PROXY", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(key, raising=False)
    running.moments.clear()
    yield running
    running.before = lambda method, name: None
    running.objects.clear()
    assert not running.errors


@pytest.fixture
def bucket():
    """Of this test alone: TensorFlow remembers for seconds what it saw of an object."""
    return f"bucket-{random.randrange(1 << 40)}"


@pytest.fixture
def base(store, bucket):
    return f"gs://{bucket}/feed/serving"


@pytest.fixture
def model(tmp_path):
    """Makes a model whose files all say the same."""

    def made(says):
        folder = tmp_path / says
        for name in FILES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(says)
        return str(folder)

    return made


def served(objects, bucket):
    """What a TF Serving that looks now can load: number -> its files' contents."""
    found = {}
    for name, content in objects.items():
        number, _, file = name.removeprefix(f"{bucket}/feed/serving/").partition("/")
        if number.isdigit() and file:
            found.setdefault(int(number), {})[file] = content.decode()
    return {number: files for number, files in found.items() if "saved_model.pb" in files}


def assert_whole(objects, bucket):
    for number, files in served(objects, bucket).items():
        told = json.loads(files.pop(versions.MANIFEST))
        assert set(files) == set(told["files"]) == set(FILES), number
        assert len(set(files.values())) == 1, (number, files)


def test_a_version_holds_the_model_and_nothing_is_left_beside_it(store, base, bucket, model):
    number = versions.publish(model("a"), base)
    assert versions.numbers(base) == [int(number)]
    assert versions.served(base) == int(number)
    assert stores.names(base) == [number]
    assert fileio.exists(f"{base}/{number}/variables/variables.index")


def test_tensorflow_renames_a_folder_file_by_file(store, base, bucket, model):
    """The reason for all this: its saved_model.pb comes before its variables."""
    for name in FILES:
        fileio.copy(f"{model('a')}/{name}", f"{base}/copy/{name}")
    fileio.rename(f"{base}/copy", f"{base}/7")
    halves = [files for now in store.moments for files in served(now, bucket).values()]
    assert any("variables/variables.index" not in files for files in halves)


@pytest.mark.slow
def test_what_can_be_loaded_is_whole_at_every_moment_of_pushes_and_removals(
    store, base, bucket, model
):
    for says in "abcd":
        pusher.push(model(says), base)
        retention.retain(base, 2)
    versions.roll_back(base)
    retention.retain(base, 2)
    for objects in store.moments:
        assert_whole(objects, bucket)
    left = sorted(served(store.objects, bucket).items())
    assert [files["saved_model.pb"] for _, files in left] == ["d", "c"]


@pytest.mark.slow
def test_wherever_a_push_is_killed_the_one_before_is_served_and_the_next_push_is_whole(
    store, base, bucket, model, monkeypatch
):
    first = int(pusher.push(model("a"), base, "2022-05-05"))
    store.moments.clear()
    second = int(pusher.push(model("b"), base, "2022-05-06"))
    clock, states, seen = time.time(), {}, set()
    for objects in store.moments:  # one of those that differ in the copy's own folder alone
        states[frozenset(n for n in objects if "/.pushing" not in os.path.dirname(n))] = objects
    for at, objects in enumerate(states.values()):
        killed = f"{bucket}-{at}"
        then = f"gs://{killed}/feed/serving"
        left = {name.replace(bucket, killed, 1): content for name, content in objects.items()}
        store.objects.update(left)
        whole = f"{killed}/feed/serving/{second}/saved_model.pb" in left
        assert versions.served(then) == (second if whole else first)
        seen.add((versions.highest(then), versions.served(then)))
        with pytest.raises(pusher.NotPushed, match="older"):
            pusher.push(model("c"), then, "2022-05-04")
        newest = int(pusher.push(model("b" if whole else "a"), then, "2022-05-06"))
        assert newest == versions.highest(then) == versions.served(then)
        assert retention.retain(then, 5) == []
        with monkeypatch.context() as later:
            later.setattr(stores.time, "time", lambda: clock + 86_500)
            last = int(pusher.push(model("z"), then, "2022-05-07"))
            retention.retain(then, 5)
        assert versions.numbers(then)[-1] == last
        assert stores.names(then) == [str(n) for n in versions.numbers(then)]
        assert_whole(store.objects, killed)
        assert not any(versions.damage(then, n) for n in versions.numbers(then))
    assert seen == {(first, first), (second, first), (second, second)}


def test_pushes_at_the_same_time_bring_a_whole_version_each(
    store, base, bucket, model, monkeypatch
):
    monkeypatch.setattr(stores.time, "time", lambda: 1700000000.0)  # all want one number
    models = [model(f"model-{n}") for n in range(8)]
    with ThreadPoolExecutor(4) as pushers:
        found = [pushers.submit(versions.publish, each, base) for each in models]
        numbers = [int(each.result()) for each in found]
    assert sorted(numbers) == versions.numbers(base)
    assert len(set(numbers)) == 8
    for objects in store.moments:
        assert_whole(objects, bucket)
    assert {files["saved_model.pb"] for files in served(store.objects, bucket).values()} == {
        f"model-{n}" for n in range(8)
    }
    assert versions.unfinished_pushes(base) == []


@pytest.mark.parametrize("moment", ["write", "rewrite"])
def test_a_number_that_another_push_has_claimed_or_taken_is_left_to_it(
    store, base, bucket, model, monkeypatch, moment
):
    """The other comes when this push has chosen its number, and when it has begun to move."""
    monkeypatch.setattr(stores.time, "time", lambda: 1700000000.0)
    other = []

    def late(method, name):
        chosen = name.endswith(".1700000000") if moment == "write" else "/1700000000/" in name
        if method == moment and chosen and not other:
            other.append(0)
            with ThreadPoolExecutor(1) as pushers:
                other[0] = int(pushers.submit(versions.publish, model("b"), base).result())

    store.before = late
    mine = int(versions.publish(model("a"), base))
    assert other
    assert mine != other[0]
    found = served(store.objects, bucket)
    assert {number: files["saved_model.pb"] for number, files in found.items()} == {
        mine: "a",
        other[0]: "b",
    }
    assert_whole(store.objects, bucket)


def test_a_version_that_is_being_brought_is_nobody_s_to_take_or_to_remove(
    store, base, bucket, model
):
    """Another push, with its removal of old versions, comes in before every file that moves."""
    first = int(pusher.push(model("a"), base, "2022-05-05"))
    seen = []

    def meanwhile(method, name):
        if method == "rewrite" and name.endswith("saved_model.pb") and not seen:
            seen.append(versions.highest(base))
            assert versions.numbers(base) == [first]
            assert versions.served(base) == first
            seen.append(int(pusher.push(model("c"), base, "2022-05-06")))
            assert retention.retain(base, 1) == [first]

    def in_another_thread(method, name):
        with ThreadPoolExecutor(1) as others:
            others.submit(meanwhile, method, name).result()

    store.before = in_another_thread
    mine = int(pusher.push(model("b"), base, "2022-05-06"))
    assert seen == [mine, versions.highest(base)]
    assert versions.damage(base, mine) == []
    assert versions.numbers(base) == [mine, seen[1]]


def test_a_move_that_fails_leaves_nothing_that_a_server_takes_up(store, base, bucket, model):
    first = versions.publish(model("a"), base)
    name = f"{bucket}/feed/serving/"

    def lost(method, of):
        if method == "rewrite" and of.endswith("variables.index"):
            store.objects = {n: c for n, c in store.objects.items() if ".pushing" not in n}

    store.before = lost
    with pytest.raises((OSError, fileio.NotFoundError, tf.errors.OpError)):
        versions.publish(model("b"), base)
    assert stores.names(base) == [first]
    assert all(n.startswith(name + first) for n in store.names())


def test_a_manifest_that_goes_while_it_is_read_is_no_version(store, base, bucket, model):
    number = int(versions.publish(model("a"), base))
    assert versions.damage(base, number) == []
    del store.objects[f"{bucket}/feed/serving/{number}/{versions.MANIFEST}"]
    assert "manifest" in versions.damage(base, number)[0]  # TensorFlow still remembers it


def test_files_are_removed_as_folders_are(store, base):
    with fileio.open(f"{base}/file", "w") as stream:
        stream.write("a")
    checksums.remove(f"{base}/file")
    assert store.names() == []
