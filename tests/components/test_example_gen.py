"""VideoLogExampleGen as TFX sees it."""

import json

import pytest
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils, standard_artifacts

from ncs4cvr.components.example_gen import (
    DeadLetters,
    Executor,
    VideoLogExampleGen,
    rows_from_json,
    rows_to_json,
)
from ncs4cvr.components.log.records import LogError
from ncs4cvr.schemas.features import Feature


def test_rows_survive_json(logs, tmp_path):
    log = logs.random(tmp_path, 1).log()
    assert rows_from_json(*rows_to_json(log, logs.features)) == (log, logs.features)


def test_a_label_leak_is_refused_when_the_component_is_built(logs, tmp_path):
    with pytest.raises(LogError, match="label leak"):
        VideoLogExampleGen(logs.random(tmp_path, 1).log(), [Feature("is_click")])


def test_the_component_declares_what_its_cache_key_needs(logs, tmp_path):
    log = logs.random(tmp_path, 1).log()
    component = VideoLogExampleGen(log, logs.features, code_version="v", log_fingerprint="f")
    properties = component.exec_properties
    assert (properties["code_version"], properties["log_fingerprint"]) == ("v", "f")
    assert json.loads(properties["log"])["user"] == "user_id"
    assert set(component.outputs) == {"examples", "dead_letters"}


def test_the_executor_writes_named_splits_of_gzip_tfrecords(logs, tmp_path):
    log = logs.random(tmp_path, 1).write()
    examples, dead_letters = standard_artifacts.Examples(), DeadLetters()
    examples.uri, dead_letters.uri = str(tmp_path / "examples"), str(tmp_path / "dead")
    context = BaseBeamExecutor.Context(
        beam_pipeline_args=["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"],
        tmp_dir=str(tmp_path / "tmp"),
        unique_id="1",
    )
    log_json, features_json = rows_to_json(log, logs.features)
    Executor(context).Do(
        {},
        {"examples": [examples], "dead_letters": [dead_letters]},
        {"log": log_json, "features": features_json, "code_version": "", "log_fingerprint": ""},
    )
    assert artifact_utils.decode_split_names(examples.split_names) == ["train", "test"]
    assert examples.get_string_custom_property("payload_format") == "FORMAT_TF_EXAMPLE"
    assert examples.get_string_custom_property("file_format") == "tfrecords_gzip"
    for split in ("train", "test"):
        names = sorted(path.name for path in (tmp_path / "examples" / f"Split-{split}").iterdir())
        assert names == [f"data_tfrecord-0000{i}-of-00002.gz" for i in range(2)]
    assert json.loads((tmp_path / "dead" / "counts.json").read_text())["events"]["rows"] == 60
