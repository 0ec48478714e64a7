"""submit and schedule, against a server that answers like Kubeflow Pipelines."""

import importlib.util
import socket

import pytest

from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.kubeflow import client
from ncs4cvr.pipeline.status import FAULT, PUSHED, USAGE, CommandFailed

CLI = "import sys; from ncs4cvr.pipeline.cli import main; sys.exit(main())"
NIGHTLY = ("--cron", "0 3 * * *")


@pytest.fixture
def ncs4cvr(kfp_python, compiled, api):
    """Runs a command on the compiled pipeline."""

    def run(command, *arguments, host=api.host, **environment):
        return kfp_python(CLI, command, compiled, "--host", host, *arguments, **environment)

    return run


def test_the_first_submit_creates_pipeline_experiment_and_run(ncs4cvr, api):
    status, told = ncs4cvr("submit", "--date", "2022-05-06", "--param", 'settings=["seed=2"]')
    assert status == PUSHED, told
    assert "run run-0" in told
    (pipeline,), (experiment,), (run,) = api.pipelines, api.experiments, api.runs
    assert pipeline["display_name"] == experiment["display_name"] == "tiny"
    assert run["experiment_id"] == experiment["experiment_id"]
    assert run["runtime_config"]["parameters"] == {"date": "2022-05-06", "settings": ["seed=2"]}
    assert run["pipeline_version_reference"]["pipeline_id"] == pipeline["pipeline_id"]


def test_a_second_submit_of_the_same_file_uploads_nothing(ncs4cvr, api):
    ncs4cvr("submit")
    versions = list(api.versions)
    status, told = ncs4cvr("submit")
    assert status == PUSHED, told
    assert api.versions == versions
    assert len(api.pipelines) == len(api.experiments) == 1
    references = {run["pipeline_version_reference"]["pipeline_version_id"] for run in api.runs}
    assert len(api.runs) == 2
    assert len(references) == 1


def test_a_file_that_was_uploaded_long_ago_is_found_among_many_versions(ncs4cvr, api):
    ncs4cvr("submit")
    mine = api.versions[-1]
    api.versions[:0] = [
        {**mine, "pipeline_version_id": f"old-{n}", "display_name": f"{n:012d}"} for n in range(150)
    ]
    before = list(api.versions)
    status, told = ncs4cvr("submit")
    assert status == PUSHED, told
    assert api.versions == before


def test_a_day_is_named_once(ncs4cvr, api):
    status, told = ncs4cvr("submit", "--date", "2022-05-06", "--param", "date=2022-05-07")
    assert status == USAGE
    assert "name two days" in told
    status, told = ncs4cvr("schedule", *NIGHTLY, "--param", "date=today")
    assert status == PUSHED, told
    assert api.recurring[0]["runtime_config"]["parameters"]["date"] == "today"


def test_a_changed_file_becomes_a_new_version(ncs4cvr, api, compiled):
    ncs4cvr("submit")
    text = compiled.read_text()
    compiled.write_text(text.replace("registry/ncs4cvr:1", "registry/ncs4cvr:2"))
    try:
        status, told = ncs4cvr("submit")
    finally:
        compiled.write_text(text)
    assert status == PUSHED, told
    assert "new version" in told
    used = [run["pipeline_version_reference"]["pipeline_version_id"] for run in api.runs]
    assert len(set(used)) == 2
    assert len(api.pipelines) == 1


def test_a_schedule_runs_yesterday_one_at_a_time_without_catching_up(ncs4cvr, api):
    status, told = ncs4cvr("schedule", *NIGHTLY)
    assert status == PUSHED, told
    (made,) = api.recurring
    assert made["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert made["no_catchup"] is True
    assert made["max_concurrency"] in (1, "1")
    assert made["runtime_config"]["parameters"] == {"date": "yesterday"}


def test_a_new_schedule_takes_the_place_of_the_old_one(ncs4cvr, api):
    ncs4cvr("schedule", *NIGHTLY)
    status, told = ncs4cvr("schedule", "--cron", "0 5 * * *")
    assert status == PUSHED, told
    assert [each["trigger"]["cron_schedule"]["cron"] for each in api.recurring] == ["0 0 5 * * *"]


def test_schedules_are_listed_paused_and_resumed(ncs4cvr, api):
    ncs4cvr("schedule", *NIGHTLY)
    assert ncs4cvr("schedule", "--pause")[0] == PUSHED
    assert api.recurring[0]["status"] == "DISABLED"
    status, told = ncs4cvr("schedule", "--list")
    assert status == PUSHED
    assert "tiny  0 0 3 * * *  DISABLED" in told
    assert ncs4cvr("schedule", "--resume")[0] == PUSHED
    assert api.recurring[0]["status"] == "ENABLED"


def test_pausing_what_is_not_there_says_so(ncs4cvr):
    status, told = ncs4cvr("schedule", "--pause")
    assert status == USAGE
    assert "tiny has no schedule" in told


def test_a_conflict_says_to_try_again(ncs4cvr, api):
    body = {"error_message": "Already exist error: The name tiny already exist"}
    api.fail["POST", "/pipelines/upload"] = (409, body)
    status, told = ncs4cvr("submit")
    assert status == FAULT
    assert "answered 409, Already exist error: The name tiny already exist" in told
    assert "run the command again" in told
    assert not api.runs


def test_a_missing_token_names_the_variable_and_the_right_one_works(ncs4cvr, api):
    api.token = "secret"
    status, told = ncs4cvr("submit")
    assert status == FAULT
    assert "answered 401" in told
    assert "KFP_TOKEN" in told
    status, told = ncs4cvr("submit", KFP_TOKEN="secret")
    assert status == PUSHED, told


def test_a_forbidden_run_speaks_of_namespace_and_role(ncs4cvr, api):
    api.fail["POST", "/runs"] = (
        403,
        {"message": "User is not authorized to create runs", "code": 7},
    )
    status, told = ncs4cvr("submit")
    assert status == FAULT
    assert "answered 403, User is not authorized to create runs" in told
    assert "--namespace" in told


def test_a_server_for_many_users_wants_a_namespace(ncs4cvr, api):
    api.multi_user = True
    status, told = ncs4cvr("submit")
    assert status == USAGE
    assert "--namespace NAME" in told
    status, told = ncs4cvr("submit", "--namespace", "team")
    assert status == PUSHED, told
    assert api.experiments[0]["namespace"] == "team"
    status, told = ncs4cvr("submit", "--namespace", "team")
    assert status == PUSHED, told
    assert [pipeline["namespace"] for pipeline in api.pipelines] == ["team"]


def test_a_server_that_is_gone_is_named(ncs4cvr):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{free.getsockname()[1]}"
    status, told = ncs4cvr("submit", host=host)
    assert status == FAULT
    assert f"{host} does not answer as Kubeflow Pipelines does" in told
    assert "refused" in told


def test_another_kind_of_server_is_named(ncs4cvr, api):
    api.fail["GET", "/healthz"] = (404, {"error": "Not Found"})
    status, told = ncs4cvr("submit")
    assert status == FAULT
    assert "is --host the address of the Kubeflow Pipelines API?" in told


@pytest.mark.skipif(importlib.util.find_spec("kfp") is not None, reason="kfp is installed here")
def test_without_kfp_the_extra_is_named(compiled, api, capfd):
    assert main(["submit", str(compiled), "--host", api.host]) == USAGE
    assert "make kubeflow" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("dat", "2022-05-06", "no parameter 'dat'"),
        ("gates", "ctr_auc=0.7", "must be JSON"),
        ("settings", '{"seed": 2}', "must be JSON"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_sent(compiled, name, text, told):
    with pytest.raises(CommandFailed, match=told):
        client.values_for(compiled, {name: text})


def test_a_cron_expression_of_four_fields_is_refused():
    with pytest.raises(CommandFailed, match="expected 5 fields"):
        client.cron_of("0 3 * *")


def test_a_file_that_is_no_pipeline_is_refused(tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text("steps: []")
    with pytest.raises(CommandFailed, match="is no pipeline"):
        client.name_of(path)
