"""The compiled pipeline: what KFP's schema and SDK say to it, and what it promises."""

import dataclasses

import pytest
import yaml

from ncs4cvr.pipeline import recipe_files
from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.kubeflow import nodes, spec
from ncs4cvr.pipeline.kubeflow.resources import DEFAULTS, Options, Resources
from ncs4cvr.pipeline.status import PUSHED, USAGE

OPTIONS = Options("registry/ncs4cvr:1", "/shared")

LOADS = """
import sys, yaml
from google.protobuf import json_format
from kfp import components
from kfp.pipeline_spec import pipeline_spec_pb2 as pb
document = next(yaml.safe_load_all(open(sys.argv[1])))
parsed = json_format.ParseDict(document, pb.PipelineSpec())
json_format.ParseDict(document["deploymentSpec"], pb.PipelineDeploymentConfig())
loaded = components.load_component_from_file(sys.argv[1])
print(parsed.pipeline_info.name, sorted(loaded.component_spec.inputs))
"""


@pytest.fixture(scope="module")
def document(tiny):
    return spec.pipeline_spec(tiny, OPTIONS)


def tasks(document):
    return document["components"]["comp-exit-handler-1"]["dag"]["tasks"]


def test_kfps_schema_has_every_field_and_its_sdk_loads_it(kfp_python, compiled):
    status, told = kfp_python(LOADS, compiled)
    assert status == 0, told
    inputs = "['beam_args', 'date', 'events', 'gates', 'history', 'image', 'root', 'settings'"
    assert f"tiny {inputs}, 'users', 'videos']" in told


def test_every_executor_is_a_container(document):
    executors = document["deploymentSpec"]["executors"].values()
    assert {kind for each in executors for kind in each} == {"container"}


def test_every_step_waits_for_those_that_feed_it(document):
    for name, task in tasks(document).items():
        sources = [
            *task["inputs"]["parameters"].values(),
            *task["inputs"].get("artifacts", {}).values(),
        ]
        makers = {
            each[kind]["producerTask"]
            for each in sources
            for kind in ("taskOutputParameter", "taskOutputArtifact")
            if kind in each
        }
        assert makers <= set(task.get("dependentTasks", [])), name
        assert set(task.get("dependentTasks", [])) <= set(tasks(document))


def test_names_are_such_as_argo_accepts(document):
    names = [*tasks(document), *document["components"], *document["deploymentSpec"]["executors"]]
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in names)


def test_what_depends_on_earlier_runs_is_never_cached(document):
    cached = {n for n, t in tasks(document).items() if t["cachingOptions"].get("enableCache")}
    assert {"transform", "ticket-search", "trainer", "statistics-gen"} <= cached
    found = {"last-statistics", "drift-validator", "data-gate", "last-blessed-model"}
    assert not cached & {*found, "model-gate", "pusher", "plan"}


def test_without_cache_no_step_is_cached(tiny):
    document = spec.pipeline_spec(tiny, dataclasses.replace(OPTIONS, cache=False))
    assert not any(task["cachingOptions"] for task in tasks(document).values())


def test_the_report_runs_however_the_steps_end(document):
    report = document["root"]["dag"]["tasks"]["report"]
    assert report["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert report["dependentTasks"] == ["exit-handler-1"]


def test_retries_are_for_all_but_the_data_gate(document):
    retried = {name for name, task in tasks(document).items() if "retryPolicy" in task}
    assert set(tasks(document)) - retried == {"data-gate"}


def test_the_image_is_a_run_parameter_of_every_step(document):
    for executor in document["deploymentSpec"]["executors"].values():
        image = executor["container"]["image"]
        assert image == "{{$.inputs.parameters['pipelinechannel--image']}}"
    for task in (*tasks(document).values(), document["root"]["dag"]["tasks"]["report"]):
        assert task["inputs"]["parameters"]["pipelinechannel--image"]


def test_resources_are_set_per_step(tiny):
    chosen = (("Trainer", Resources(cpu=8, memory=64, gpu=2)),)
    document = spec.pipeline_spec(tiny, dataclasses.replace(OPTIONS, resources=chosen))
    found = document["deploymentSpec"]["executors"]["exec-trainer"]["container"]["resources"]
    assert found["cpuLimit"] == 8
    assert found["resourceMemoryLimit"] == "64G"
    assert found["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert found["accelerator"]["resourceCount"] == "2"


def container_of(step, options, recipe, tmp_path):
    """What a step may use, as the command compiles it."""
    path = tmp_path / "pipeline.yaml"
    arguments = ["--image", "i:1", "--root", "gs://bucket/r", "--output", str(path), *options]
    assert main(["compile", str(recipe), *arguments]) == PUSHED
    document = next(yaml.safe_load_all(path.read_text()))
    return document["deploymentSpec"]["executors"][step]["container"]["resources"]


def test_what_an_option_does_not_name_stays_the_steps_own(tiny_recipe_file, tmp_path):
    found = container_of("exec-trainer", ["--resources=Trainer=gpu:1"], tiny_recipe_file, tmp_path)
    before = DEFAULTS["Trainer"]
    assert (found["cpuLimit"], found["memoryLimit"]) == (before.cpu, before.memory)
    assert found["accelerator"]["count"] == "1"
    # A step without an entry of its own has what every step has.
    options = ["--resources=Evaluator=cpu:7"]
    found = container_of("exec-evaluator", options, tiny_recipe_file, tmp_path)
    assert (found["cpuLimit"], found["memoryLimit"]) == (7, Resources().memory)


def test_options_for_one_step_add_up_and_the_last_one_wins(tiny_recipe_file, tmp_path):
    given = ["cpu:8", "memory:64", "gpu:1,gpu_type:amd.com/gpu", "cpu:6"]
    options = [f"--resources=Trainer={each}" for each in given]
    found = container_of("exec-trainer", options, tiny_recipe_file, tmp_path)
    assert (found["cpuLimit"], found["memoryLimit"]) == (6, 64)
    assert found["accelerator"]["type"] == "amd.com/gpu"


def test_resources_of_an_unknown_step_are_refused(tiny):
    chosen = (("Trainr", Resources()),)
    with pytest.raises(ValueError, match="Trainr"):
        spec.pipeline_spec(tiny, dataclasses.replace(OPTIONS, resources=chosen))


def test_volumes_are_mounted_in_every_step(compiled):
    document, platform = yaml.safe_load_all(compiled.read_text())
    mounts = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(mounts) == set(document["deploymentSpec"]["executors"])
    assert mounts["exec-plan"] == {"pvcMount": [{"constant": "logs", "mountPath": "/mnt/logs"}]}


def test_a_curated_schema_travels_with_the_pipeline():
    recipe = recipe_files.load("kuairand")
    document = spec.pipeline_spec(recipe, OPTIONS)
    container = document["deploymentSpec"]["executors"]["exec-import-schema-gen"]["container"]
    assert container["args"][0] == "schema"
    assert str(recipe.data_schema) not in yaml.safe_dump(document["deploymentSpec"])


def test_the_log_need_not_exist_where_the_pipeline_is_compiled(tiny):
    gone = tiny.replace(log=dataclasses.replace(tiny.log, events="gs://logs/{DATE}/*.parquet"))
    events = spec.pipeline_spec(gone, OPTIONS)["root"]["inputDefinitions"]["parameters"]["events"]
    assert events["defaultValue"] == "gs://logs/{DATE}/*.parquet"


def test_a_key_changes_with_everything_above_it_and_nothing_beside_it(tiny):
    def found(recipe):
        from ncs4cvr.pipeline.create import Places, create_pipeline

        steps = create_pipeline(recipe, Places("/a", "/s", "/c")).components
        return nodes.keys(steps, {step.id: nodes.properties_of(step) for step in steps})

    before, after = found(tiny), found(tiny.replace(learning_rate=0.5))
    changed = {name for name in before if before[name] != after[name]}
    assert {"TicketSearch", "Trainer", "LastBlessedModel", "Evaluator", "Pusher"} <= changed
    assert not changed & {"VideoLogExampleGen", "StatisticsGen", "DataGate", "Transform"}


def test_the_command_writes_a_file(tiny_recipe_file, tmp_path):
    path = tmp_path / "pipeline.yaml"
    arguments = ["--image", "i:1", "--root", "/r", "--output", str(path), "--volume", "claim:/r"]
    beam = ["--beam", "runner=FlinkRunner", "--beam", "parallelism=8"]
    assert main(["compile", str(tiny_recipe_file), *arguments, *beam]) == PUSHED
    document = next(yaml.safe_load_all(path.read_text()))
    assert document["pipelineInfo"]["name"] == "tiny"
    told = document["root"]["inputDefinitions"]["parameters"]["beam_args"]["defaultValue"]
    assert told == ["--runner=FlinkRunner", "--parallelism=8"]


def test_beams_arguments_reach_every_component_that_runs_on_beam(document):
    told = {n for n, t in tasks(document).items() if "beam_args" in t["inputs"]["parameters"]}
    assert told == {"video-log-example-gen", "statistics-gen", "transform", "evaluator"}


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--resources=Trainer", "cannot be read"),
        ("--resources=Trainer=cpus:4", "cannot be read"),
        ("--resources=Trainer=cpu:-1", "must be positive"),
        ("--resources=Trainer=cpu:nan", "--resources 'Trainer=cpu:nan'"),
        ("--resources=Trainer=cpu:nan", "positive and finite"),
        ("--resources=Trainer=memory:inf", "positive and finite"),
        ("--resources=Trainer=gpu:-1", "write such as cpu:4,memory:16,gpu:1"),
        ("--volume=claim", "cannot be read"),
        ("--retries=-1", "0 or more"),
        ("--root=runs", "steps cannot share the root 'runs'"),
        ("--root=minio://mlpipeline", "steps cannot share the root"),
    ],
)
def test_wrong_options_are_usage_errors(tiny_recipe_file, tmp_path, option, told, capfd):
    arguments = ["--image", "i:1", "--root", "/r", "--output", str(tmp_path / "p.yaml"), option]
    assert main(["compile", str(tiny_recipe_file), *arguments]) == USAGE
    assert told in capfd.readouterr().err


# -- what steps would not see --------------------------------------------------------------------


def warned(recipe, tmp_path, capfd, *options):
    """The warnings of a compilation, a line each."""
    capfd.readouterr()
    arguments = ["--image", "i:1", "--output", str(tmp_path / "p.yaml"), *options]
    assert main(["compile", str(recipe), *arguments]) == PUSHED
    return capfd.readouterr().err.splitlines()


def test_a_root_on_no_volume_is_told(tiny_recipe_file, tmp_path, capfd):
    logs = f"--volume=logs:{tiny_recipe_file.parent}"
    (line,) = warned(tiny_recipe_file, tmp_path, capfd, "--root=/mnt/x", logs)
    assert line.startswith("ncs4cvr: warning: --root /mnt/x ")
    assert "--volume CLAIM:/mnt/x" in line
    # /mnt/x-other and /mnt/x/deeper are beside it and below it.
    for path in ("/mnt/x-other", "/mnt/x/deeper"):
        options = ("--root=/mnt/x", logs, f"--volume=claim:{path}")
        assert len(warned(tiny_recipe_file, tmp_path, capfd, *options)) == 1


def test_log_files_on_no_volume_are_told_in_one_line(tiny_recipe_file, tmp_path, capfd):
    (line,) = warned(tiny_recipe_file, tmp_path, capfd, "--root=gs://bucket/r")
    assert line.startswith(f"ncs4cvr: warning: events {tiny_recipe_file.parent}/events.csv, users ")
    assert "history" not in line  # the recipe names none
    for cure in ("gs://", "--volume CLAIM:/PATH", "--param"):
        assert cure in line


@pytest.mark.parametrize("root", ["gs://bucket/r", "hdfs://host/r", "/mnt/x", "/mnt/x/y"])
def test_what_steps_see_is_not_told(tiny_recipe_file, tmp_path, capfd, root):
    volumes = (f"--volume=logs:{tiny_recipe_file.parent}", "--volume=claim:/mnt/x/")
    assert warned(tiny_recipe_file, tmp_path, capfd, f"--root={root}", *volumes) == []
