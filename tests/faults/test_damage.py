"""A file of every kind that is cut off, has a flipped bit or is gone."""

import csv
import gzip
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

pytestmark = pytest.mark.faults

HARMS = ("cut off", "flipped", "gone")


def harm(path, how, where=0.5):
    """Cuts a file off, flips a bit of it as a disk does (its time stays), or removes it."""
    about, data = path.stat(), path.read_bytes()
    place = int(len(data) * where)
    if how == "gone":
        path.unlink()
    elif how == "cut off":
        path.write_bytes(data[:place])
    else:
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


# -- what comes from outside -------------------------------------------------------------------


def write_events(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.name.endswith(".csv.gz"):
        with gzip.open(path, "wt", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            for row in rows:
                example = tf.train.Example()
                for name, value in row.items():
                    example.features.feature[name].int64_list.value.append(value)
                writer.write(example.SerializeToString())


@pytest.mark.parametrize("how", HARMS)
@pytest.mark.parametrize("name", ["more.parquet", "more.csv.gz", "more.tfrecord.gz", "events.csv"])
def test_a_damaged_log_is_refused_by_its_name_and_what_is_served_stays(world, name, how):
    path = world.log / name
    if name != "events.csv":
        write_events(path, world.rows)
    where = 0.999 if name.endswith("parquet") else 0.5  # its footer
    before, whole = world.numbers(), path.read_bytes()
    harm(path, how, where)
    recipe = world.log / "more.py"
    recipe.write_text(world.recipe.read_text().replace("events.csv", name))
    status, told = world.run(recipe=recipe)
    if (name, how) == ("events.csv", "flipped"):  # readable: one cell is no number any more
        world.check_right(status, told)
        assert sum(world.summary()["rows"]["events"]["dead"].values()) == 1
        world.note(f"{name} flipped", "ends right, the row is a dead letter")
        return
    assert status == 4, told
    assert name in told or "split 'validate'" in told  # cut off between rows
    assert "Traceback" not in told
    assert world.numbers() == before
    world.check_serving()
    path.write_bytes(whole)
    world.check_right(*world.run())
    world.note(f"{name} {how}", "refuses the data (4), names the file", "mended, it ends right")


@pytest.mark.parametrize("how", HARMS)
def test_a_damaged_curated_schema_is_named(world, how):
    schema = world.artifact("SchemaGen", "schema") / "schema.pbtxt"
    curated, recipe = world.log / "curated.pbtxt", world.log / "more.py"
    curated.write_bytes(schema.read_bytes())
    recipe.write_text(
        world.recipe.read_text().replace(
            'name="small",', 'name="small",\n    data_schema="curated.pbtxt",'
        )
    )
    harm(curated, how)
    status, told = world.run(recipe=recipe)
    assert status in (2, 4), told
    assert "curated.pbtxt" in told
    assert "Traceback" not in told
    world.check_right(*world.run())
    world.note(f"curated schema {how}", f"ends with {status}, names the file", "it ends right")


@pytest.mark.parametrize("how", HARMS)
def test_damaged_tickets_are_named(world, how):
    folder = world.log / "tickets"
    folder.mkdir()
    for path in world.artifact("TicketSearch", "tickets").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    harm(folder / "tickets.npz", how)
    status, told = world.run("--tickets", folder)
    assert status == 1, told
    assert str(folder) in told
    assert "Traceback" not in told
    world.check_serving()
    world.check_right(*world.run())
    world.note(f"given tickets {how}", "ends with 1, names the folder", "without, it ends right")


def test_a_recipe_that_is_cut_off_is_a_usage_error(world):
    recipe = world.log / "more.py"
    recipe.write_bytes(world.recipe.read_bytes())
    harm(recipe, "cut off")
    status, told = world.run(recipe=recipe)
    assert status == 2, told
    assert "more.py" in told
    world.check_right(*world.run())
    world.note("recipe cut off", "ends with 2, names file and line", "mended, it ends right")


# -- what runs keep ----------------------------------------------------------------------------

KEPT = [
    *(("VideoLogExampleGen", "examples", "Split-train/*.gz", how) for how in HARMS),
    *(("TicketSearch", "tickets", "tickets.npz", how) for how in HARMS),
    *(("Trainer", "model", "Format-Serving/variables/*.data*", how) for how in HARMS),
    ("Trainer", "model", "Format-Serving/saved_model.pb", "flipped"),
    ("VideoLogExampleGen", "dead_letters", "counts.json", "flipped"),
    ("StatisticsGen", "statistics", "Split-test/FeatureStats.pb", "flipped"),
    ("SchemaGen", "schema", "schema.pbtxt", "flipped"),
    ("Transform", "transform_graph", "transform_fn/saved_model.pb", "flipped"),
    ("Evaluator", "evaluation", "metrics*", "flipped"),
]


@pytest.mark.parametrize(("component", "output", "file", "how"), KEPT)
def test_a_damaged_output_is_made_anew(world, component, output, file, how):
    path = sorted(world.artifact(component, output).glob(file))[0]
    harm(path, how)
    status, told = world.ncs4cvr("doctor", world.root)
    assert status == 1, told
    assert path.name in told
    status, told = world.run()
    assert "made anew" in told
    world.check_right(status, told)
    world.note(f"{component}: {path.name.partition('-')[0]} {how}", "makes it anew, ends right", "")


@pytest.mark.parametrize("how", HARMS)
@pytest.mark.parametrize(
    "file",
    ["saved_model.pb", "variables/variables.data-00000-of-00001", "assets.extra/manifest.json"],
)
def test_a_damaged_served_version_is_followed_by_a_whole_one(world, file, how):
    (before,) = world.numbers()
    harm(world.serving / str(before) / file, how)
    status, told = world.ncs4cvr("doctor", world.root)
    assert status == 1, told
    assert f"version {before}, which is served" in told
    world.check_right(*world.run())
    (after,) = world.numbers()
    assert after > before
    name = file.split("/")[-1].partition("-")[0]
    world.note(f"served version: {name} {how}", "pushes a whole version, removes the other", "")


def test_a_serving_folder_that_is_gone_is_filled_again(world):
    os.rename(world.serving, world.folder / "gone")
    try:
        world.check_right(*world.run())
    finally:
        for path in sorted((world.folder / "gone").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (world.folder / "gone").rmdir()
    world.note("serving folder gone", "pushes the version again", "")


@pytest.mark.parametrize("how", HARMS)
def test_damaged_metadata_comes_back_from_its_copy(world, how):
    harm(world.run_dir / "metadata.sqlite", how, 0.9)
    status, told = world.run()
    assert "restored from the copy of the last finished run" in told
    world.check_right(status, told)
    world.note(f"metadata.sqlite {how}", "restores the copy, ends right", "")


@pytest.mark.parametrize("how", HARMS)
def test_metadata_whose_copy_is_damaged_too_is_begun_anew(world, how):
    harm(world.run_dir / "metadata.sqlite", "cut off")
    harm(world.run_dir / "metadata.copy.sqlite", how)
    status, told = world.run()
    assert "starts from nothing" in told
    world.check_right(status, told)
    world.note(f"metadata.sqlite cut off, its copy {how}", "says so, starts anew, ends right", "")


@pytest.fixture(scope="module")
def half_trained(finished):
    """A snapshot of a training that was killed after its first epoch's checkpoint."""
    return _cut_off(finished, "Trainer")


@pytest.fixture(scope="module")
def half_searched(finished):
    """A snapshot of a search that was killed after its first round's checkpoint."""
    return _cut_off(finished, "TicketSearch")


def _cut_off(finished, component):
    finished.restore("finished")
    finished.forget(component)
    function = "tensorflow:train.CheckpointManager.save"
    status, told = finished.run(kind="kill", function=function, moment="after")
    assert status == -9, told
    finished.snapshot(f"half of {component}")
    return f"half of {component}"


@pytest.mark.parametrize("how", ["left alone", *HARMS])
def test_a_training_goes_on_from_a_checkpoint_or_without_a_damaged_one(world, half_trained, how):
    _goes_on(world, half_trained, how, "going on after epoch 1")
    if how != "left alone":
        world.note(f"checkpoint {how}", "trains from the start, ends right", "")


@pytest.mark.parametrize("how", ["left alone", *HARMS])
def test_a_search_goes_on_from_a_checkpoint_or_without_a_damaged_one(world, half_searched, how):
    _goes_on(world, half_searched, how, "going on after round 0 of 1")
    if how != "left alone":
        world.note(f"checkpoint of a search {how}", "searches from the start, ends right", "")


def _goes_on(world, half, how, says):
    world.restore(half)
    (data,) = world.run_dir.glob("checkpoints/*/*.data-*")
    if how != "left alone":
        harm(data, how)
    status, told = world.run()
    world.check_right(status, told)
    assert (says in told) == (how == "left alone")
    assert list(world.run_dir.glob("checkpoints/*")) == []


@pytest.mark.parametrize("how", HARMS)
@pytest.mark.parametrize("name", ["summary.json", "history.jsonl", "metadata.copy.json"])
def test_a_damaged_note_is_written_again(world, name, how):
    harm(world.run_dir / name, how)
    world.check_right(*world.run())
    world.note(f"{name} {how}", "ends right", "")


def test_a_lock_file_full_of_noise_is_no_lock(world):
    (world.run_dir / "lock").write_bytes(os.urandom(200))
    world.check_right(*world.run())
    world.note("lock file holds noise", "ends right", "")
