"""The serving folder: every version is whole, the highest is served, going back is going up."""

import json

import pytest
from tfx.dsl.io import fileio

from ncs4cvr.components import versions
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


def test_the_last_versions_stay(push, base):
    pushed = [push(letter) for letter in "abcde"]
    assert versions.retain(str(base), 3) == pushed[:2]
    assert versions.numbers(str(base)) == pushed[2:]
    assert versions.retain(str(base), 100) == []


def test_damaged_versions_go_once_a_whole_one_is_served(push, base):
    pushed = [push(letter) for letter in "abc"]
    (base / str(pushed[1]) / "saved_model.pb").write_text("")
    assert versions.retain(str(base), 5) == [pushed[1]]


def test_the_last_pushed_version_stays_however_many_rollbacks_follow(push, base):
    first, second = push("a"), push("b")
    versions.roll_back(str(base))
    versions.roll_back(str(base), second)
    versions.roll_back(str(base), first)
    versions.retain(str(base), 2)
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
    assert versions.retain(str(base), 2) == [1, 2]
    assert versions.numbers(str(base)) == kept
    assert (outside / "kept").exists()
