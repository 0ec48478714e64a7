"""Which examples and which graph of a folder of runs a benchmark takes, and what it keeps."""

import dataclasses

import pytest
import tensorflow as tf
from noted_runs import CACHED, COMPLETE, FAILED, Noted
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io

from ncs4cvr.components import analysis
from ncs4cvr.pipeline.recipes.kuairand import RECIPE


class Run(Noted):
    """A run's folder: examples, graphs, and ML metadata as TFX writes them."""

    def examples(self, number, content=b"rows"):
        """What example generation wrote as its execution of this number."""
        folder = self.folder / f"artifacts/VideoLogExampleGen/examples/{number}"
        (folder / "Split-train").mkdir(parents=True)
        (folder / "Split-train/data.gz").write_bytes(content)
        return folder

    def graph(self, number, recipe=RECIPE, code="1"):
        """What Transform wrote for a recipe; of every graph the vocabularies are the same."""
        folder = self.folder / f"artifacts/Transform/transform_graph/{number}"
        (folder / "transform_fn/assets").mkdir(parents=True)
        (folder / "transform_fn/saved_model.pb").write_bytes(f"in run {number}".encode())
        (folder / "transform_fn/assets/vocabulary_user").write_bytes(b"7\n")
        spec = {f.name: tf.io.FixedLenFeature([], tf.int64) for f in recipe.features}
        metadata = dataset_metadata.DatasetMetadata.from_feature_spec(spec)
        metadata_io.write_metadata(metadata, str(folder / "transformed_metadata"))
        made_from = analysis.made_from(recipe, schema_pb2.Schema(), code)
        analysis.write(str(folder), {"decision": {}, "made_from": made_from})
        return folder

    def transformed(self, state, examples, graph):
        """Notes an execution of Transform."""
        self.ended("Transform", state, {"examples": examples}, {"transform_graph": graph})


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def taken(run, recipe=RECIPE):
    from quality_parts.data import Data

    return Data.of_run(recipe, run.folder, run.folder / "kept", "ncs4cvr run kuairand")


def test_examples_whose_transform_did_not_finish_are_not_taken(run):
    """As after a run that DataGate refused, and after one that died in Transform."""
    first, graph = run.examples(1), run.graph(9)
    run.transformed(COMPLETE, first, graph)
    later = run.examples(16, b"of a day that was refused")
    run.transformed(FAILED, later, run.graph(24))
    data = taken(run)
    assert (data.raw, data.graph) == (first, graph)


def test_a_run_from_the_cache_is_taken_whatever_ran_in_between(run):
    first, graph = run.examples(1), run.graph(9)
    run.transformed(COMPLETE, first, graph)
    run.transformed(COMPLETE, run.examples(16, b"of another day"), run.graph(24))
    run.transformed(CACHED, first, graph)
    data = taken(run)
    assert (data.raw, data.graph) == (first, graph)


def test_a_model_comes_with_the_examples_that_it_was_trained_on(run):
    from quality_parts.finished import artifacts

    first, model = run.examples(1), run.folder / "artifacts/Trainer/model_run/10"
    model.mkdir(parents=True)
    run.ended("Trainer", COMPLETE, {"examples": first}, {"model_run": model})
    run.transformed(COMPLETE, run.examples(16, b"of a run that died later"), run.graph(24))
    found = artifacts(run.folder, "Trainer", ("model_run", "examples"), "ncs4cvr run kuairand")
    assert found == [model, first]


def test_what_was_removed_is_named_with_the_command(run):
    from quality_parts.data import NoRun

    graph = run.graph(9)
    run.transformed(COMPLETE, run.folder / "artifacts/VideoLogExampleGen/examples/1", graph)
    with pytest.raises(NoRun, match="examples/1 is gone; make it anew: ncs4cvr run kuairand"):
        taken(run)


def changed(feature, **values):
    """The recipe with a feature's fields set."""
    features = [
        dataclasses.replace(f, **values) if f.name == feature else f for f in RECIPE.features
    ]
    return RECIPE.replace(features=tuple(features))


def first(kind, **has):
    """The name of a feature of a kind."""
    return next(
        f.name
        for f in RECIPE.features
        if f.kind == kind and all(getattr(f, n) == v for n, v in has.items())
    )


OTHERS = {
    "bins": lambda: (changed(first("number"), bins=99), "1"),
    "length": lambda: (changed(first("sequence"), length=3), "1"),
    "hash_buckets": lambda: (changed(first("category"), hash_buckets=77), "1"),
    "utc_offset_hours": lambda: (
        RECIPE.replace(log=dataclasses.replace(RECIPE.log, utc_offset_hours=5)),
        "1",
    ),
    "user": lambda: (RECIPE.replace(log=dataclasses.replace(RECIPE.log, user="author")), "1"),
    "the code": lambda: (RECIPE, "2"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_rows_are_kept_for_each_way_to_transform_them(what, tmp_path):
    """The examples are the same bytes, and so are the vocabularies."""

    def of(number, recipe, code):
        run = Run(tmp_path / str(number))
        run.transformed(COMPLETE, run.examples(1), run.graph(number, recipe, code))
        return taken(run, recipe)

    for number in (9, 24, 30):
        (tmp_path / str(number)).mkdir()
    before, again = of(9, RECIPE, "1"), of(24, RECIPE, "1")
    assert again.fingerprint == before.fingerprint  # whatever the number of the run
    after = of(30, *OTHERS[what]())
    assert after.fingerprint != before.fingerprint
    assert after.rows.name != before.rows.name


def test_a_recipe_that_was_changed_but_not_run_keeps_nothing_under_the_changed_ones_name(tmp_path):
    run = Run(tmp_path)
    run.transformed(COMPLETE, run.examples(1), run.graph(9))
    other = changed(first("number"), bins=99)
    stale = taken(run, other).rows  # rows of the old graph
    run.transformed(COMPLETE, run.examples(16), run.graph(24, other))
    assert taken(run, other).rows != stale
