"""Where Beam's steps run: settings, what is wrong with them, and whom they reach."""

import io
import re
import socket
import sys
from pathlib import Path

import pytest
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.utils.dependency_utils import make_beam_dependency_flags

from ncs4cvr.pipeline import beam, recipe_files
from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.create import Places, create_pipeline
from ncs4cvr.pipeline.display import Display
from ncs4cvr.pipeline.recipe_parts import for_training
from ncs4cvr.pipeline.run import local
from ncs4cvr.pipeline.run.meter import Meter
from ncs4cvr.pipeline.run.run_record import RunRecord
from ncs4cvr.pipeline.status import USAGE
from ncs4cvr.schemas.recipe import Recipe

IMAGE = "sdk_container_image=registry/ncs4cvr:1"
DOCS = Path(__file__).parents[2] / "docs" / "production.md"


def test_without_settings_beam_runs_in_this_process():
    here = {"direct_num_workers=1", "direct_running_mode=in_memory", f"runner={beam.HERE}"}
    assert set(beam.arguments(())) == {beam.NO_IMAGE, *(f"--{flag}" for flag in here)}


@pytest.mark.parametrize(
    "settings", [(), ("direct_num_workers=2",), ("runner=DirectRunner", IMAGE)]
)
def test_tfx_packs_no_copy_of_itself_for_workers_of_this_machine(settings):
    """It would take seconds in every step, and stay in the folder of temporary files."""
    flags = list(beam.arguments(settings))
    assert make_beam_dependency_flags(flags) == flags
    assert sum(flag.startswith("--sdk_container_image=") for flag in flags) == 1


def test_what_the_caller_was_started_with_is_not_beams(tiny_recipe_file, tmp_path, monkeypatch):
    """TFX reads Beam's flags behind the process's own, of which `-v` wants a value."""
    monkeypatch.setattr(sys, "argv", ["caller", "-v"])
    with Meter() as meter:
        record = RunRecord(meter)
        recipe = recipe_files.load(str(tiny_recipe_file))
        display = Display(io.StringIO())
        local.run(recipe, tmp_path / "runs", None, display, record, last="VideoLogExampleGen")
    assert record.components()["VideoLogExampleGen"].outputs["examples"]
    assert sys.argv == ["caller", "-v"]


def test_several_workers_are_processes_unless_told_otherwise():
    assert "--direct_running_mode=multi_processing" in beam.arguments(["direct_num_workers=2"])
    threads = ["direct_num_workers=2", "direct_running_mode=multi_threading"]
    assert "--direct_running_mode=multi_processing" not in beam.arguments(threads)


def test_beams_direct_runner_is_the_one_that_needs_no_network():
    assert beam.arguments(["runner=DirectRunner"])[0] == f"--runner={beam.HERE}"


def test_an_engine_gets_its_flags_and_none_of_this_machines():
    settings = ["runner=FlinkRunner", "--parallelism=8", IMAGE, "experiments=a", "experiments=b"]
    flags = ["--runner=FlinkRunner", "--parallelism=8", f"--{IMAGE}"]
    assert list(beam.arguments(settings)) == [*flags, "--experiments=a", "--experiments=b"]


@pytest.mark.parametrize("settings", [(), ("direct_num_workers=3",), ("runner=FlinkRunner", IMAGE)])
def test_flags_are_settings_too_and_stay_as_they_are(settings):
    flags = beam.arguments(settings)
    assert set(beam.arguments(flags)) == set(flags)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["runner=FlinkRuner"], "unknown runner 'FlinkRuner'; did you mean 'FlinkRunner'?"),
        (["runner=no.such.Runner"], "unknown runner 'no.such.Runner'"),
        (["direct_num_worker=2"], "no option 'direct_num_worker'; did you mean 'direct_num_work"),
        (["runner=FlinkRunner", IMAGE, "flink_mastr=x:1"], "did you mean 'flink_master'?"),
        (["direct_num_workers=two"], "direct_num_workers: invalid int value: 'two'"),
        (["direct_running_mode=processes"], "direct_running_mode: invalid choice: 'processes'"),
        (["=2"], "'=2' must read key=value"),
        (["runner=PortableRunner"], "needs a job service: job_endpoint=HOST:PORT"),
        (
            ["runner=PortableRunner", "job_endpoint=here:1", "environment_type=EXTERNAL"],
            "needs environment_config=HOST:PORT",
        ),
        (
            ["runner=FlinkRunner", "flink_master=f:8081"],
            "workers would not have ncs4cvr; give sdk_",
        ),
        (["runner=DataflowRunner"], "workers would not have ncs4cvr; give sdk_container_image"),
        (["runner=DataflowRunner", "setup_file=./setup.py"], "must be an absolute path"),
    ],
)
def test_wrong_settings_are_refused_with_a_cure(settings, message):
    with pytest.raises(ValueError, match=r"^beam: ") as refused:
        beam.arguments(settings)
    assert message in str(refused.value)


def test_a_job_service_that_does_not_answer_is_named():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))  # and does not listen
        endpoint = f"job_endpoint=127.0.0.1:{found.getsockname()[1]}"
        with pytest.raises(ValueError, match=f"no job service answers at {endpoint}"):
            beam.check(["runner=PortableRunner", endpoint, "environment_type=LOOPBACK"])


def test_a_setup_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"setup\.py is no file"):
        beam.check(["runner=DataflowRunner", f"setup_file={tmp_path}/setup.py"])


def test_a_wrong_option_ends_run_and_compile_before_anything_runs(
    tiny_recipe_file, tmp_path, capsys
):
    wrong = ["--beam", "runner=DirectRuner"]
    for command in (
        ["run", str(tiny_recipe_file), "--root", str(tmp_path / "runs")],
        ["compile", str(tiny_recipe_file), "--root", "gs://b/r", "--image", "i:1"],
    ):
        assert main([*command, *wrong]) == USAGE
        assert "did you mean 'DirectRunner'?" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_options_of_the_command_replace_the_recipes(tiny_recipe_file):
    text = tiny_recipe_file.read_text()
    changed = text.replace(
        'name="tiny",', 'name="tiny", beam=("runner=FlinkRunner", "x=1", "x=2"),'
    )
    tiny_recipe_file.write_text(changed)
    assert recipe_files.load(str(tiny_recipe_file)).beam == ("runner=FlinkRunner", "x=1", "x=2")
    loaded = recipe_files.load(str(tiny_recipe_file), (), ("x=3",))
    assert loaded.beam == ("runner=FlinkRunner", "x=3")


@pytest.fixture
def recipe(tiny_recipe_file) -> Recipe:
    return recipe_files.load(str(tiny_recipe_file), (), ("direct_num_workers=2",))


def test_options_reach_every_step_that_runs_on_beam(recipe, tmp_path):
    flags = list(beam.arguments(recipe.beam))
    places = Places(*[str(tmp_path / name) for name in ("artifacts", "serving", "checkpoints")])
    pipeline = create_pipeline(recipe, places, beam_args=flags)
    told = {
        node.id: node.executor_spec.beam_pipeline_args
        for node in pipeline.components
        if isinstance(getattr(node, "executor_spec", None), BeamExecutorSpec)
    }
    assert set(told) == {"VideoLogExampleGen", "StatisticsGen", "Transform", "Evaluator"}
    assert all(each == flags for each in told.values())


def test_where_beam_runs_trains_nothing_anew(recipe):
    assert for_training(recipe) == for_training(recipe.replace(beam=()))


def test_a_text_instead_of_a_tuple_is_refused(recipe):
    with pytest.raises(ValueError, match="beam must be a tuple, such as"):
        recipe.replace(beam="runner=DirectRunner")


def test_set_says_how_beams_options_are_set(recipe):
    with pytest.raises(ValueError, match="--beam KEY=VALUE"):
        recipe.with_settings(["beam=runner=DirectRunner"])


def documented() -> list[list[str]]:
    """Beam's settings of every whole command in the documentation."""
    commands = re.findall(
        r"^ncs4cvr (?:.*\\\n)*.*$", DOCS.read_text(encoding="utf-8"), re.MULTILINE
    )
    settings = [
        re.findall(r"--beam (\S+)", command) for command in commands if "..." not in command
    ]
    return [each for each in settings if each]


@pytest.mark.parametrize("settings", documented(), ids=lambda settings: settings[0])
def test_beam_understands_the_documented_commands(settings):
    assert len(beam.arguments(settings)) >= len(settings)


def test_the_documentation_has_a_command_for_every_engine():
    runners = {setting for settings in documented() for setting in settings if "runner=" in setting}
    names = ("DirectRunner", "PortableRunner", "FlinkRunner", "DataflowRunner")
    assert runners == {f"runner={name}" for name in names}
