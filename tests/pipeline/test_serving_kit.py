"""The serving kit: configs TF Serving parses, manifests that hang together, a client that runs."""

import json
import math
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
import yaml
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from ncs4cvr.pipeline import serving_kit
from ncs4cvr.pipeline.batching import KitError, Latency, fit_batching, latest_check
from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.serving_kit import IMAGE, Settings
from ncs4cvr.pipeline.status import PUSHED, USAGE

pytestmark = pytest.mark.filterwarnings("ignore")

MEASURED = [Latency(1, 1.0, 2.0), Latency(64, 4.0, 6.0), Latency(256, 12.0, 18.5)]
GAP = -(2**63)


def report(latencies=MEASURED, **other):
    """As ServingCheck writes it."""
    calls = [
        {"signature": "serving_default", "batch": e.batch, "p50_ms": e.p50_ms, "p99_ms": e.p99_ms}
        for e in latencies
    ]
    calls.append({"signature": "predict", "batch": 512, "p50_ms": 0.1, "p99_ms": 0.1})
    return {
        "blessed": True,
        "memory_mb": 500.0,
        "memory_before_load_mb": 400.0,
        "calls": calls,
        **other,
    }


def write_check(run: Path, number: int, **other) -> Path:
    path = run / f"artifacts/ServingCheck/blessing/{number}/serving_check.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(report(**other)))
    return path


@pytest.fixture
def run(serving, tmp_path) -> Path:
    """A run with the versions 7 and 12, and what ServingCheck measured."""
    folder = tmp_path / "bob's run"
    for version in ("7", "12"):
        shutil.copytree(serving / "7", folder / "serving" / version)
    write_check(folder, 3)
    return folder


def write(run: Path, *options) -> Path:
    """A kit, by the command."""
    kit = run.parent / "kit"
    assert main(["kit", str(run), "--output", str(kit), *map(str, options)]) == PUSHED
    return kit


def refused(capfd, *arguments) -> str:
    """What the command says when it refuses."""
    assert main(["kit", *map(str, arguments)]) == USAGE
    return capfd.readouterr().err


def models_config(kit: Path):
    text = (kit / "config/models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    return model


def manifest(kit: Path, wanted: tuple[str, str]) -> dict:
    (found,) = [m for m in manifests(kit) if (m["kind"], m["metadata"]["name"]) == wanted]
    return found


def manifests(kit: Path) -> list[dict]:
    """What `kubectl apply -k` would read."""
    kustomization = yaml.safe_load((kit / "kustomization.yaml").read_text())
    return [
        document
        for path in kustomization["resources"]
        for document in yaml.safe_load_all((kit / path).read_text())
    ]


def container(kit: Path) -> dict:
    (deployment,) = [m for m in manifests(kit) if m["kind"] == "Deployment"]
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return found


# models.config ------------------------------------------------------------------------------


def test_the_newest_version_is_served_under_both_labels(run):
    model = models_config(write(run))
    assert (model.name, model.base_path) == ("ncs4cvr", "/models/ncs4cvr")
    assert model.model_platform == "tensorflow"
    assert list(model.model_version_policy.specific.versions) == [12]
    assert dict(model.version_labels) == {"stable": 12, "canary": 12}


def test_a_canary_is_served_beside_the_stable_version(run):
    model = models_config(write(run, "--stable", 7, "--canary", 12, "--name", "feed"))
    assert model.base_path == "/models/feed"
    assert list(model.model_version_policy.specific.versions) == [7, 12]
    assert dict(model.version_labels) == {"stable": 7, "canary": 12}


def test_going_back_to_an_old_version_takes_the_canary_along(run):
    assert dict(models_config(write(run, "--stable", 7)).version_labels) == {
        "stable": 7,
        "canary": 7,
    }


def test_a_second_kit_replaces_the_first(run):
    write(run, "--stable", 7)
    assert dict(models_config(write(run)).version_labels) == {"stable": 12, "canary": 12}


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


def test_a_budget_below_the_smallest_batch_is_refused_with_its_latency(run, capfd):
    told = refused(capfd, run, "--output", run.parent, "--latency-ms", 1.5)
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


def test_the_batching_config_is_tf_serving_s_message(run):
    kit = write(run, "--latency-ms", 20, "--cpus", 6)
    parsed = text_format.Parse((kit / "config/batching.config").read_text(), batching_parameters())
    assert parsed.max_batch_size.value == 256
    assert parsed.batch_timeout_micros.value == 1500
    assert parsed.num_batch_threads.value == 6
    # TF Serving refuses to start unless the last one is the largest batch.
    assert list(parsed.allowed_batch_sizes) == [1, 64, 256]


def test_batching_is_on_only_where_asked_for(run):
    flag = "--batching_parameters_file=/config/batching.config"
    kit = write(run)
    assert flag not in container(kit)["args"]
    assert flag not in (kit / "start.sh").read_text()
    kit = write(run, "--batching")
    assert {"--enable_batching=true", flag} <= set(container(kit)["args"])
    assert flag in (kit / "start.sh").read_text()


def test_signatures_that_batching_breaks_are_named(run):
    # `predict` has lists of any length, `rank` one user for all rows.
    assert serving_kit.unjoinable(run / "serving/12") == ["predict", "rank"]
    assert "Do not use `predict`, `rank`" in (write(run) / "README.md").read_text()


# The latencies ------------------------------------------------------------------------------


def test_the_newest_report_that_passed_counts(run):
    newest = write_check(run, 11)
    write_check(run, 20, blessed=False)
    assert latest_check(run) == newest


def test_a_report_measured_elsewhere_may_be_given(run, tmp_path):
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps(report([Latency(32, 5.0, 9.0)])))
    text = (write(run, "--measured", slow) / "config/batching.config").read_text()
    assert "max_batch_size { value: 32 }" in text


def test_memory_is_from_what_was_measured(run):
    # 100 MiB a version: 512 + 2 * 100 -> 768, and with two versions 512 + 400 -> 1024.
    assert container(write(run))["resources"]["limits"]["memory"] == "768Mi"
    two = container(write(run, "--stable", 7, "--canary", 12))
    assert two["resources"]["requests"]["memory"] == "1024Mi"


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"calls": [{}]}', json.dumps(report([Latency(1, 1, 2)], memory_mb=None))],
)
def test_what_is_no_report_is_refused(run, tmp_path, capfd, content):
    path = tmp_path / "odd.json"
    path.write_text(content)
    told = refused(capfd, run, "--output", tmp_path, "--measured", path)
    assert f"{path} is no report of ServingCheck" in told


@pytest.mark.parametrize("wrong", [(0, 1, 2), (1, 0, 2), (1, 3, 2), (1, 1, math.nan)])
def test_impossible_latencies_are_refused(wrong):
    with pytest.raises(KitError, match="no latency of a batch"):
        Latency(*wrong)


def test_a_run_without_latencies_says_what_to_do(run, tmp_path, capfd):
    shutil.rmtree(run / "artifacts")
    assert "run `ncs4cvr run` again" in refused(capfd, run, "--output", tmp_path)


# Refusals -----------------------------------------------------------------------------------


def test_a_run_without_a_model_is_refused(tmp_path, capfd):
    told = refused(capfd, tmp_path, "--output", tmp_path)
    assert "holds no numbered version of a model" in told


@pytest.mark.parametrize("label", ["stable", "canary"])
def test_an_unknown_version_is_refused_with_the_known_ones(run, tmp_path, capfd, label):
    told = refused(capfd, run, "--output", tmp_path, f"--{label}", 8)
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


# Manifests ----------------------------------------------------------------------------------


def test_every_manifest_has_its_kind_and_current_api_version(run):
    kinds = {(m["apiVersion"], m["kind"], m["metadata"]["name"]) for m in manifests(write(run))}
    assert kinds == {
        ("apps/v1", "Deployment", "ncs4cvr"),
        ("v1", "Service", "ncs4cvr"),
        ("v1", "Service", "ncs4cvr-pods"),
        ("autoscaling/v2", "HorizontalPodAutoscaler", "ncs4cvr"),
    }


def test_selectors_match_the_pods(run):
    kit = write(run, "--name", "feed")
    deployment = manifest(kit, ("Deployment", "feed"))["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    for name in ("feed", "feed-pods"):
        assert manifest(kit, ("Service", name))["spec"]["selector"].items() <= labels.items()
    target = manifest(kit, ("HorizontalPodAutoscaler", "feed"))["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "feed"}
    # With both, they would fight over the number of pods.
    assert "replicas" not in deployment


def test_services_and_probes_name_ports_that_the_container_has(run):
    kit = write(run)
    serving = container(kit)
    ports = {port["name"]: port["containerPort"] for port in serving["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    for name in ("ncs4cvr", "ncs4cvr-pods"):
        for port in manifest(kit, ("Service", name))["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert serving[probe]["httpGet"]["port"] == "rest"


def test_a_pod_is_ready_when_the_stable_version_answers(run):
    # The regular expression of TF Serving's REST API (http_rest_api_util.cc).
    api = re.compile(
        r"/v1/models(?:/([^/:]+))?(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?(?:\/(metadata))?"
    )
    serving = container(write(run, "--name", "feed", "--stable", 7))
    for probe in ("startupProbe", "readinessProbe"):
        path = serving[probe]["httpGet"]["path"]
        assert api.fullmatch(path).groups() == ("feed", None, "stable", "metadata")
    assert api.fullmatch(serving["livenessProbe"]["httpGet"]["path"]).groups()[0] == "feed"


def test_every_mount_has_its_volume_and_every_file_its_mount(run):
    kit = write(run)
    pod = manifest(kit, ("Deployment", "ncs4cvr"))["spec"]["template"]["spec"]
    mounts = {m["name"]: m["mountPath"] for m in container(kit)["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    assert models_config(kit).base_path.startswith(mounts["models"] + "/")
    (generated,) = yaml.safe_load((kit / "kustomization.yaml").read_text())["configMapGenerator"]
    (volume,) = [v["configMap"] for v in pod["volumes"] if v["name"] == "config"]
    assert generated["name"] == volume["name"]
    files = {f"{mounts['config']}/{Path(path).name}" for path in generated["files"]}
    assert all((kit / path).is_file() for path in generated["files"])
    for flag in container(write(run, "--batching"))["args"]:
        option, _, value = flag.partition("=")
        assert not option.endswith("_file") or value in files


def test_the_autoscaler_has_the_request_that_it_divides_by(run):
    kit = write(run, "--cpus", 6)
    scaler = manifest(kit, ("HorizontalPodAutoscaler", "ncs4cvr"))["spec"]
    assert scaler["metrics"][0]["resource"]["name"] == "cpu"
    assert container(kit)["resources"]["requests"]["cpu"] == "6"
    assert 1 < scaler["minReplicas"] < scaler["maxReplicas"]


def test_a_pod_outlives_its_drain(run):
    pod = manifest(write(run), ("Deployment", "ncs4cvr"))["spec"]["template"]["spec"]
    command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert int(command[1]) < pod["terminationGracePeriodSeconds"]


def test_the_image_is_pinned_once(run):
    assert re.fullmatch(r"tensorflow/serving:\d+\.\d+\.\d+", IMAGE)
    kit = write(run)
    assert container(kit)["image"] == IMAGE
    assert f"  {IMAGE} \\\n" in (kit / "start.sh").read_text()
    package = Path(serving_kit.__file__).parent
    holders = [
        path.name
        for path in package.rglob("*")
        if path.suffix in (".py", ".sh", ".yaml", ".md")
        and "tensorflow/serving:" in path.read_text()
    ]
    assert holders == ["serving_kit.py"]


# start.sh -----------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [(), ("other folder",)])
def test_the_script_calls_docker_with_folders_that_exist(run, tmp_path, given):
    kit = write(run, "--batching")
    (tmp_path / "other folder").mkdir()
    fake = tmp_path / "bin/docker"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nfor each; do printf "%s\\n" "$each"; done\n')
    fake.chmod(0o755)
    done = subprocess.run(
        [str(kit / "start.sh"), *given],
        env={**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    arguments = done.stdout.splitlines()
    assert arguments[:2] == ["run", "--rm"]
    models, config = (arguments[i + 1] for i, a in enumerate(arguments) if a == "-v")
    serving = tmp_path / given[0] if given else run / "serving"
    assert models == f"{serving}:/models/ncs4cvr:ro"
    assert config == f"{kit}/config:/config:ro"
    # What follows the image goes to the server, as in the Deployment.
    assert arguments[arguments.index(IMAGE) + 1 :] == container(kit)["args"]


# client.py ----------------------------------------------------------------------------------

ROWS = [
    {"user": 10, "city": "Oslo", "price": 0.5, "history": [1, 2]},
    {"user": 30, "city": None, "price": 0.25, "history": []},
    {"user": 20, "price": None},
]


def command_line(kit: Path, endpoint: str, rows: list[dict], *options) -> list[str]:
    path = kit / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    host, port = endpoint.removeprefix("http://").split(":")
    where = ["--host", host, "--port", port, *(["--rest"] if "//" in endpoint else [])]
    return [str(kit / "client.py"), *where, "--input", str(path), *map(str, options)]


@pytest.fixture
def ask(run, monkeypatch, capsys):
    """Runs the kit's client and returns what it prints, a dict a line."""
    kit = write(run)

    def asked(*arguments) -> list[dict]:
        capsys.readouterr()
        command = command_line(kit, *arguments)
        monkeypatch.setattr(sys, "argv", command)
        runpy.run_path(command[0], run_name="__main__")
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return asked


def test_the_client_scores_every_row_over_both_apis(ask, endpoint, served):
    found = ask(endpoint, ROWS, "--batch", 2)
    assert [row["user"] for row in found] == [10, 30, 20]
    # See Small in conftest.py; an empty city takes .5 off the ctr.
    assert [row["ctr"] for row in found] == pytest.approx([0.1, -0.2, -0.3])
    assert [row["cvr"] for row in found] == pytest.approx([2.5, 0.25, 0])
    assert [row["ctcvr"] for row in found] == pytest.approx([0.25, -0.05, 0])
    assert [len(inputs["user"]) for _, inputs in served.asked] == [2, 1]
    assert served.asked[1][1]["history"].tolist() == [[GAP]]


def test_the_client_ranks_candidates_over_both_apis(ask, endpoint, served):
    user = {"user": 20, "city": "Oslo", "history": [4, 5, 6]}
    found = ask(endpoint, [user | {"price": p} for p in (0.5, 2.0, None, 1.0)], "--rank")
    # ctcvr = .2 * (price + 3)
    assert [row["price"] for row in found] == [2.0, 1.0, 0.5, None]
    assert [row["ctcvr"] for row in found] == pytest.approx([1.0, 0.8, 0.7, 0.6])
    ((signature, inputs),) = served.asked
    assert signature == "rank"
    assert inputs["user"].tolist() == [20]
    assert inputs["history"].tolist() == [[4, 5, 6]]
    assert len(inputs["price"]) == 4


@pytest.mark.slow
def test_the_client_runs_where_nothing_of_ours_can_be_imported(run, served, ask):
    hidden = (
        "import sys, runpy; sys.modules['ncs4cvr'] = None; del sys.argv[0]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = command_line(run.parent / "kit", served.grpc, ROWS)
    done = subprocess.run(
        [sys.executable, "-I", "-c", hidden, *command], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [json.loads(line) for line in done.stdout.splitlines()] == ask(served.grpc, ROWS)


def test_the_client_asks_for_the_label(ask, endpoint):
    assert len(ask(endpoint, ROWS, "--label", "")) == 3
    with pytest.raises(SystemExit, match="Servable not found for request: ncs4cvr canary"):
        ask(endpoint, ROWS, "--label", "canary")


def test_the_client_names_an_output_that_is_not_there(ask, served):
    told = "no output 'watch' to rank by; there are: ctcvr, ctr, cvr"
    with pytest.raises(SystemExit, match=told):
        ask(served.grpc, ROWS, "--rank", "--by", "watch")


def test_the_client_names_a_server_that_is_not_there(ask):
    with pytest.raises(SystemExit, match=r"127\.0\.0\.1: .*refused"):
        ask("http://127.0.0.1:1", ROWS)


def test_the_client_writes_gaps_as_the_model_wants_them():
    from ncs4cvr.pipeline.kit import client
    from ncs4cvr.schemas.log import MISSING

    kinds = {tf.int64: "int", tf.float32: "float", tf.string: "string"}
    assert {kinds[d]: repr(v) for d, v in client.MISSING.items()} == {
        k: repr(v) for k, v in MISSING.items()
    }
