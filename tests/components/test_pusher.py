"""A version under the serving folder is whole or absent."""

import pytest
from tfx.dsl.io import fileio

from ncs4cvr.components import pusher


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables/variables.index").write_bytes(b"index")
    return folder


def files(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_a_push_makes_one_numbered_version_with_every_file(model, tmp_path):
    base = tmp_path / "serving"
    version = pusher.push(str(model), str(base))
    assert version.isdigit()
    assert [f.name for f in base.iterdir()] == [version]
    assert files(base / version) == files(model)


def test_two_pushes_within_a_second_are_two_versions(model, tmp_path, monkeypatch):
    monkeypatch.setattr(pusher.time, "time", lambda: 1700000000.5)
    base = tmp_path / "serving"
    versions = [pusher.push(str(model), str(base)) for _ in range(2)]
    assert versions == ["1700000000", "1700000001"]


def test_a_push_that_dies_leaves_no_version_and_the_next_one_is_whole(model, tmp_path, monkeypatch):
    base = tmp_path / "serving"

    def die(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(fileio, "rename", die)
        with pytest.raises(OSError, match="No space left"):
            pusher.push(str(model), str(base))
    assert not [f for f in base.iterdir() if f.name.isdigit()]
    version = pusher.push(str(model), str(base))
    assert [f.name for f in base.iterdir()] == [version]
    assert files(base / version) == files(model)
