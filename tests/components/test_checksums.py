"""A sealed folder tells whether it is still what it was."""

import pytest

from ncs4cvr.components import checksums


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "Gen/examples/12"
    (made / "Split-train").mkdir(parents=True)
    (made / "Split-train/data.gz").write_bytes(b"data")
    (made / "counts.json").write_bytes(b"{}")
    checksums.seal(str(made))
    return made


def test_an_untouched_folder_is_whole_and_holds_no_more_than_before(folder):
    assert checksums.damage(str(folder)) == []
    assert {p.name for p in folder.iterdir()} == {"Split-train", "counts.json"}
    assert {p.name for p in folder.parent.iterdir()} == {"12"}


def test_every_change_is_named(folder):
    (folder / "Split-train/data.gz").write_bytes(b"dota")
    (folder / "counts.json").unlink()
    (folder / "more").write_bytes(b"")
    assert checksums.damage(str(folder)) == [
        "counts.json is missing", "Split-train/data.gz has changed", "more is new"
    ]  # fmt: skip


def test_a_seal_that_cannot_be_read_counts_as_damage(folder):
    (folder.parents[1] / ".system/checksums/examples/12.json").write_bytes(b"{")
    assert checksums.damage(str(folder)) == ["its checksums cannot be read"]


def test_a_folder_without_a_seal_is_taken_as_it_is(folder):
    checksums.unseal(str(folder))
    (folder / "counts.json").unlink()
    assert not checksums.sealed(str(folder))
    assert checksums.damage(str(folder)) == []


def test_a_link_counts_as_itself_and_what_it_leads_to_is_not_looked_at(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/data.gz").write_bytes(b"data")
    for path in (folder / "Split-train/data.gz", folder / "Split-test"):
        path.unlink(missing_ok=True)
        path.symlink_to(tmp_path / "elsewhere" / (path.name if path.suffix else ""))
    assert checksums.of(str(folder)) == {
        "Split-test": f"link to {tmp_path}/elsewhere",
        "Split-train/data.gz": f"link to {tmp_path}/elsewhere/data.gz",
        "counts.json": checksums.of_file(str(folder / "counts.json")),
    }
    assert len(checksums.damage(str(folder))) == 2


@pytest.mark.parametrize(
    ("path", "inside"),
    [("runs/a/1", True), ("runs/../etc", False), ("runs", False), ("runs2/a", False)],
)
def test_a_folder_is_inside_another_when_links_and_dots_are_followed(tmp_path, path, inside):
    (tmp_path / "runs").mkdir()
    assert checksums.inside(f"{tmp_path}/{path}", f"{tmp_path}/runs") is inside


def test_a_link_that_leads_out_of_a_folder_is_not_inside_it(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/out").symlink_to(tmp_path)
    assert not checksums.inside(f"{tmp_path}/runs/out/other", f"{tmp_path}/runs")
