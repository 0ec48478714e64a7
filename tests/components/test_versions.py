"""The serving folder: every version is whole, the highest is served, going back is going up."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tfx.dsl.io import fileio

from ncs4cvr.components import retention, versions
from ncs4cvr.components.versions import VersionError


@pytest.fixture
def base(tmp_path):
    return tmp_path / "serving"


@pytest.fixture
def push(tmp_path, base):
    """Publishes a model that says `graph`, as a Pusher does; returns the version."""

    def publish(graph):
        folder = tmp_path / "model"
        (folder / "variables").mkdir(parents=True, exist_ok=True)
        (folder / "saved_model.pb").write_text(graph)
        (folder / "variables/variables.index").write_bytes(b"index")
        refused = versions.refused(str(base))
        return int(versions.publish(str(folder), str(base), no_more=refused))

    return publish


def graph(base, version):
    return (base / str(version) / "saved_model.pb").read_text()


def test_a_version_holds_the_model_and_a_manifest_of_it(push, base):
    version = push("a")
    assert versions.numbers(str(base)) == [version]
    assert versions.served(str(base)) == version
    told = json.loads((base / str(version) / versions.MANIFEST).read_text())
    assert set(told["files"]) == {"saved_model.pb", "variables/variables.index"}
    assert graph(base, version) == "a"


@pytest.mark.parametrize("harm", ["truncate", "flip", "remove", "add", "manifest", "manifest gone"])
def test_a_version_that_is_not_what_was_pushed_is_damaged(push, base, harm):
    folder = base / str(push("abc"))
    file = folder / "saved_model.pb"
    if harm == "truncate":
        file.write_text("ab")
    elif harm == "flip":
        file.write_text("acc")
    elif harm == "remove":
        file.unlink()
    elif harm == "add":
        (folder / "more").write_text("")
    elif harm == "manifest":
        (folder / versions.MANIFEST).write_text("{")
    else:
        (folder / versions.MANIFEST).unlink()
    assert versions.damage(str(base), int(folder.name))
    assert versions.served(str(base)) == 0


def test_a_clock_that_was_set_back_brings_no_version_that_nobody_serves(push, base, monkeypatch):
    first = push("a")
    monkeypatch.setattr(versions.time, "time", lambda: first - 86_400.0)
    second = push("b")
    assert second == first + 1
    assert versions.served(str(base)) == second


def test_a_copy_that_is_not_the_model_is_not_published(push, base, monkeypatch):
    copy = fileio.copy

    def cut(source, to):
        copy(source, to)
        with open(to, "rb+") as stream:
            stream.truncate(1)

    monkeypatch.setattr(fileio, "copy", cut)
    with pytest.raises(OSError, match=r"saved_model\.pb has changed"):
        push("abc")
    assert versions.numbers(str(base)) == []


@pytest.fixture
def models(tmp_path):
    """Makes models, each other than the rest."""

    def made(count):
        folders = [tmp_path / f"model-{n}" for n in range(count)]
        for n, folder in enumerate(folders):
            (folder / "variables").mkdir(parents=True)
            (folder / "saved_model.pb").write_text(str(n) * 1000)
            (folder / "variables/variables.index").write_bytes(b"index")
        return folders

    return made


def test_pushes_at_the_same_time_bring_a_whole_version_each(models, base):
    with ThreadPoolExecutor(4) as pushers:
        found = [pushers.submit(versions.publish, str(m), str(base)) for m in models(12)]
        numbers = [int(each.result()) for each in found]
    assert sorted(numbers) == versions.numbers(str(base))
    assert len(set(numbers)) == 12
    assert [versions.damage(str(base), number) for number in numbers] == [[]] * 12
    assert {graph(base, number)[0] for number in numbers} >= set("0123456789")
    assert versions.unfinished_pushes(str(base)) == []


def test_a_number_that_another_push_takes_first_is_left_to_it(models, base, monkeypatch):
    mine, other = models(2)
    rename, taken = fileio.rename, []

    def late(source, to):
        if not taken:
            taken.append(to)
            taken.append(int(versions.publish(str(other), str(base))))
        rename(source, to)

    monkeypatch.setattr(fileio, "rename", late)
    monkeypatch.setattr(versions.time, "time", lambda: 1700000000.5)
    assert versions.publish(str(mine), str(base)) == "1700000001"
    assert taken == [str(base / "1700000000"), 1700000000]
    assert graph(base, 1700000000)[0] == "1"
    assert graph(base, 1700000001)[0] == "0"


def test_a_copy_of_another_push_is_left_alone_until_it_is_a_day_old(push, base):
    def began(hours_ago):
        folder = base / f"{versions.UNFINISHED}-{time.time() - 3600 * hours_ago:.0f}-abc"
        folder.mkdir(parents=True)
        return folder

    young, old = began(hours_ago=23), began(hours_ago=25)
    (base / versions.UNFINISHED).mkdir()  # as earlier releases called theirs
    version = push("a")
    assert {path.name for path in base.iterdir()} == {young.name, str(version)}
    assert not old.exists()


def test_the_last_versions_stay(push, base):
    pushed = [push(letter) for letter in "abcde"]
    assert retention.retain(str(base), 3) == pushed[:2]
    assert versions.numbers(str(base)) == pushed[2:]
    assert retention.retain(str(base), 100) == []


def test_damaged_versions_go_once_a_whole_one_is_served(push, base):
    pushed = [push(letter) for letter in "abc"]
    (base / str(pushed[1]) / "saved_model.pb").write_text("")
    assert retention.retain(str(base), 5) == [pushed[1]]


def pin(base, *numbers):
    told = {"kit": "/kits/feed", "versions": numbers}
    (base / retention.PINNED).write_text(json.dumps(told))


def test_a_version_that_a_kit_labels_stays_however_many_pushes_follow(push, base):
    first, pushed = push("a"), []
    pin(base, first)
    for letter in "bcdefg":
        pushed.append(push(letter))
        retention.retain(str(base), 2)
    assert versions.numbers(str(base)) == [first, *pushed[-2:]]
    pin(base, pushed[-1])  # a new kit: the first version is an old one like others
    assert retention.retain(str(base), 2) == [first]


def test_a_damaged_version_that_a_kit_labels_stays_too(push, base):
    first, _ = push("a"), push("b")
    (base / str(first) / "saved_model.pb").write_text("")
    pin(base, first)
    assert retention.retain(str(base), 2) == []


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"kit": "", "versions": 7}'])
def test_no_version_goes_where_nobody_knows_what_a_kit_labels(push, base, text):
    pushed = [push(letter) for letter in "abcd"]
    (base / retention.PINNED).write_text(text)
    with pytest.raises(VersionError, match=r"pinned\.json does not say"):
        retention.pinned(str(base))
    assert retention.retain(str(base), 2) == []
    assert versions.numbers(str(base)) == pushed


def test_the_last_pushed_version_stays_however_many_rollbacks_follow(push, base):
    first, second = push("a"), push("b")
    versions.roll_back(str(base))
    versions.roll_back(str(base), second)
    versions.roll_back(str(base), first)
    retention.retain(str(base), 2)
    assert second in versions.numbers(str(base))


def test_a_rollback_serves_the_older_content_under_a_new_highest_number(push, base):
    first, second = push("a"), push("b")
    version, copied = versions.roll_back(str(base))
    assert copied == first
    assert versions.numbers(str(base)) == [first, second, int(version)]
    assert graph(base, version) == "a"
    assert not versions.damage(str(base), int(version))


def test_going_back_twice_goes_two_steps_back(push, base):
    first, second, _ = (push(letter) for letter in "abc")
    assert versions.roll_back(str(base))[1] == second
    assert versions.roll_back(str(base))[1] == first
    with pytest.raises(VersionError, match="no whole version of other content"):
        versions.roll_back(str(base))


def test_going_back_never_ends_at_what_was_rolled_back_from(push, base):
    first, _ = push("a"), push("b")
    versions.roll_back(str(base))
    push("c")
    assert versions.roll_back(str(base))[1] == first


def test_a_copy_says_the_day_that_its_original_was_trained_to(tmp_path, base):
    model = tmp_path / "model"
    model.mkdir()
    for day in ("2022-05-05", "2022-05-06"):
        (model / "saved_model.pb").write_text(day)
        versions.publish(str(model), str(base), trained_to=day)
    version, _ = versions.roll_back(str(base))
    assert versions.manifest(str(base), int(version)).trained_to == "2022-05-05"


def test_a_rollback_can_be_undone_by_name(push, base):
    first, second = push("a"), push("b")
    versions.roll_back(str(base))
    version, _ = versions.roll_back(str(base), second)
    assert graph(base, version) == "b"
    refused = versions.manifest(str(base), int(version)).refused
    assert refused == [versions.manifest(str(base), first).content]


def test_a_damaged_version_is_passed_over_and_refused_by_name(push, base):
    first, second, _ = (push(letter) for letter in "abc")
    (base / str(second) / "saved_model.pb").write_text("")
    with pytest.raises(VersionError, match=f"version {second} is damaged; whole ones .*{first}"):
        versions.roll_back(str(base), second)
    assert versions.roll_back(str(base))[1] == first


def test_a_served_version_that_is_damaged_can_be_rolled_back_from(push, base):
    first, second = push("a"), push("b")
    (base / str(second) / "saved_model.pb").write_text("")
    assert versions.roll_back(str(base))[1] == first


@pytest.mark.parametrize("to", [7, 0])
def test_what_is_not_there_cannot_be_gone_back_to(push, base, to):
    only = push("a")
    with pytest.raises(VersionError, match=str(only)):
        versions.roll_back(str(base), to)
    assert versions.numbers(str(base)) == [only]


def test_a_version_that_is_a_link_is_damaged_and_never_rolled_back_to(push, base, tmp_path):
    first, second = push("a"), push("b")
    (base / str(first)).rename(tmp_path / "elsewhere")
    (base / str(first)).symlink_to(tmp_path / "elsewhere")
    assert "link" in versions.damage(str(base), first)[0]
    with pytest.raises(VersionError, match=f"version {first} is damaged"):
        versions.roll_back(str(base), first)
    assert versions.numbers(str(base)) == [first, second]


def test_a_model_that_holds_a_link_is_not_published(tmp_path, base):
    (tmp_path / "secret").write_text("secret")
    model = tmp_path / "model"
    model.mkdir()
    (model / "saved_model.pb").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match=r"holds links \(saved_model\.pb\)"):
        versions.publish(str(model), str(base))
    assert versions.numbers(str(base)) == []


def test_what_a_link_leads_to_survives_the_removal_of_old_versions(push, base, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    base.mkdir()
    (base / "1").symlink_to(outside)
    (base / "2").mkdir()
    (base / "2/variables").symlink_to(outside)
    kept = [push("a"), push("b")]
    assert retention.retain(str(base), 2) == [1, 2]
    assert versions.numbers(str(base)) == kept
    assert (outside / "kept").exists()
