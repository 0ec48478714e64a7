"""Configs that TF Serving parses, fitted to what was measured; what is refused; the script."""

import math
import shutil
from pathlib import Path

import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from ncs4cvr.components import retention
from ncs4cvr.pipeline.serving import serving_kit
from ncs4cvr.pipeline.serving.batching import KitError, Latency, fit_batching, latest_check
from ncs4cvr.pipeline.serving.serving_kit import Settings

pytestmark = pytest.mark.filterwarnings("ignore")

MEASURED = [Latency(1, 1.0, 2.0), Latency(64, 4.0, 6.0), Latency(256, 12.0, 18.5)]


def models_config(kit: Path):
    text = (kit / "config/models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    return model


# models.config ------------------------------------------------------------------------------


def test_the_newest_version_is_served_under_both_labels(run, write):
    model = models_config(write(run))
    assert (model.name, model.base_path) == ("ncs4cvr", "/models/ncs4cvr")
    assert model.model_platform == "tensorflow"
    assert list(model.model_version_policy.specific.versions) == [12]
    assert dict(model.version_labels) == {"stable": 12, "canary": 12}


def test_a_canary_is_served_beside_the_stable_version(run, write):
    model = models_config(write(run, "--stable", 7, "--canary", 12, "--name", "feed"))
    assert model.base_path == "/models/feed"
    assert list(model.model_version_policy.specific.versions) == [7, 12]
    assert dict(model.version_labels) == {"stable": 7, "canary": 12}


def test_going_back_to_an_old_version_takes_the_canary_along(run, write):
    assert dict(models_config(write(run, "--stable", 7)).version_labels) == {
        "stable": 7,
        "canary": 7,
    }


def test_a_second_kit_replaces_the_first(run, write):
    write(run, "--stable", 7)
    assert dict(models_config(write(run)).version_labels) == {"stable": 12, "canary": 12}


def test_a_push_leaves_the_labelled_versions_of_the_last_kit(run, write):
    kit = write(run, "--stable", 7, "--canary", 12)
    pins = retention.pinned(str(run / "serving"))
    assert (pins.kit, pins.versions) == (str(kit), [7, 12])
    write(run, "--stable", 7)
    assert retention.pinned(str(run / "serving")).versions == [7]
    for number in range(13, 19):
        shutil.copytree(run / "serving/7", run / f"serving/{number}")
        retention.retain(str(run / "serving"), 2)
    assert list(models_config(kit).model_version_policy.specific.versions) == [7]
    assert 7 in serving_kit.versions_of(run / "serving")
    assert 12 not in serving_kit.versions_of(run / "serving")


# batching.config ----------------------------------------------------------------------------


def test_the_largest_batch_within_the_budget_is_taken():
    fitted = fit_batching(MEASURED, budget_ms=20, threads=3)
    assert fitted.max_batch_size == 256
    assert fitted.allowed_batch_sizes == (1, 64, 256)
    assert fitted.num_batch_threads == 3
    assert fitted.batch_timeout_micros == 1500  # the budget's rest, 20 - 18.5 ms < 12 / 4 ms


def test_waiting_costs_a_quarter_of_the_work_at_most():
    fitted = fit_batching(MEASURED[::-1], budget_ms=10, threads=1)
    assert fitted.allowed_batch_sizes == (1, 64)
    assert fitted.batch_timeout_micros == 1000  # 4 / 4 ms < 10 - 6 ms


def test_a_larger_batch_behind_one_that_is_too_slow_is_not_taken():
    odd = [Latency(1, 1, 2), Latency(64, 10, 30), Latency(256, 8, 9)]
    assert fit_batching(odd, budget_ms=20, threads=1).max_batch_size == 1


def test_wait_and_work_together_stay_within_the_budget():
    for budget in (2, 2.1, 6, 7.3, 18.5, 19, 100):
        fitted = fit_batching(MEASURED, budget, 1)
        p99 = next(e.p99_ms for e in MEASURED if e.batch == fitted.max_batch_size)
        assert p99 + fitted.batch_timeout_micros / 1000 <= budget


def test_a_budget_below_the_smallest_batch_is_refused_with_its_latency(run, refused):
    told = refused(run, "--output", run.parent, "--latency-ms", 1.5)
    assert "no batch stays within 1.5 ms: 1 rows take 2 ms at p99; raise --latency-ms" in told


def batching_parameters():
    """TF Serving's message (session_bundle_config.proto), which its Python package leaves out."""
    file = descriptor_pb2.FileDescriptorProto(
        name="batching.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    message = file.message_type.add(name="BatchingParameters")
    single = {
        "max_batch_size": 1,
        "batch_timeout_micros": 2,
        "max_enqueued_batches": 3,
        "num_batch_threads": 4,
    }
    for name, number in single.items():
        message.field.add(
            name=name, number=number, label=1, type=11, type_name=".google.protobuf.Int64Value"
        )
    message.field.add(name="allowed_batch_sizes", number=6, label=3, type=3)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    found = pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(found)()
    return message_factory.MessageFactory(pool).GetPrototype(found)()  # protobuf 3


def test_the_batching_config_is_tf_serving_s_message(run, write):
    kit = write(run, "--latency-ms", 20, "--cpus", 6)
    parsed = text_format.Parse((kit / "config/batching.config").read_text(), batching_parameters())
    assert parsed.max_batch_size.value == 256
    assert parsed.batch_timeout_micros.value == 1500
    assert parsed.num_batch_threads.value == 6
    # TF Serving refuses to start unless the last one is the largest batch.
    assert list(parsed.allowed_batch_sizes) == [1, 64, 256]


def test_signatures_that_batching_breaks_are_named(run, write):
    # `predict` has lists of any length, `rank` one user for all rows.
    assert serving_kit.unjoinable(run / "serving/12") == ["predict", "rank"]
    assert "Do not use `predict`, `rank`" in (write(run) / "README.md").read_text()


# The latencies ------------------------------------------------------------------------------


def test_the_newest_report_that_passed_counts(run, write_check):
    newest = write_check(run, 11)
    write_check(run, 20, blessed=False)
    assert latest_check(run) == newest


def test_a_report_measured_elsewhere_may_be_given(run, tmp_path, write, write_check):
    slow = write_check(tmp_path, 1, latencies=[Latency(32, 5.0, 9.0)])
    text = (write(run, "--measured", slow) / "config/batching.config").read_text()
    assert "max_batch_size { value: 32 }" in text


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"calls": [{}]}'],
)
def test_what_is_no_report_is_refused(run, tmp_path, content, refused):
    path = tmp_path / "odd.json"
    path.write_text(content)
    told = refused(run, "--output", tmp_path, "--measured", path)
    assert f"{path} is no report of ServingCheck" in told


def test_a_report_without_the_memory_is_refused(run, tmp_path, write_check, refused):
    path = write_check(tmp_path, 1, latencies=[Latency(1, 1, 2)], memory_mb=None)
    told = refused(run, "--output", tmp_path, "--measured", path)
    assert f"{path} is no report of ServingCheck" in told


@pytest.mark.parametrize("wrong", [(0, 1, 2), (1, 0, 2), (1, 3, 2), (1, 1, math.nan)])
def test_impossible_latencies_are_refused(wrong):
    with pytest.raises(KitError, match="no latency of a batch"):
        Latency(*wrong)


def test_a_run_without_latencies_says_what_to_do(run, tmp_path, refused):
    shutil.rmtree(run / "artifacts")
    assert "run `ncs4cvr run` again" in refused(run, "--output", tmp_path)


# Refusals -----------------------------------------------------------------------------------


def test_a_run_without_a_model_is_refused(tmp_path, refused):
    told = refused(tmp_path, "--output", tmp_path)
    assert "holds no numbered version of a model" in told


@pytest.mark.parametrize("label", ["stable", "canary"])
def test_an_unknown_version_is_refused_with_the_known_ones(run, tmp_path, label, refused):
    told = refused(run, "--output", tmp_path, f"--{label}", 8)
    assert f"no version 8 to label {label}" in told
    assert f"give one of 7, 12 to --{label}" in told


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "My_Model"},
        {"name": "-a"},
        {"name": "a" * 53},
        {"cpus": 0},
        {"budget_ms": 0},
        {"budget_ms": math.nan},
    ],
)
def test_settings_are_checked(wrong):
    with pytest.raises(KitError):
        Settings(**wrong)
