"""Every error that a user can meet: what it says, how the command ends, and that the page has it.

The cases lie in messages/. `make messages` writes docs/messages.md from them.
"""

import ast
import importlib.util
import json
import re
import shlex
import shutil
from pathlib import Path

import judged_runs
import pytest
from noted_runs import COMPLETE

from kubeflow_api import Api
from ncs4cvr.components import checksums, versions
from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.run import lock
from ncs4cvr.pipeline.status import PUSHED

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs/messages.md"
START, END = "<!-- messages -->", "<!-- end of the messages -->"


def load(path):
    """A module of a file; the tests are no package."""
    spec = importlib.util.spec_from_file_location(f"messages_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


case_ = load(HERE / "messages/case.py")
GROUPS = {
    "Commands and recipes": [
        *load(HERE / "messages/arguments.py").cases(**vars(case_)),
        *load(HERE / "messages/recipes.py").cases(**vars(case_)),
    ],
    "Logs": load(HERE / "messages/logs.py").cases(**vars(case_)),
    "Runs, models and servers": [
        *load(HERE / "messages/commands.py").cases(**vars(case_)),
        *load(HERE / "messages/serving.py").cases(**vars(case_)),
    ],
}
CASES = [case for group in GROUPS.values() for case in group]
MARKED = [pytest.param(case, id=case.about, marks=[pytest.mark.slow] * case.slow) for case in CASES]


# -- the worlds that cases happen in: each gets the folder, and gives names for the command --------


@pytest.fixture
def nothing():
    return {}


@pytest.fixture
def model(serving):
    """A run's serving folder with a small model, version 7."""
    shutil.copytree(serving, "runs/small/serving")
    return {}


@pytest.fixture(name="versions")
def two_versions(monkeypatch):
    """Two pushed versions, 1 and 2; the second is served."""
    monkeypatch.setattr(versions.time, "time", lambda: 1.0)
    for graph in ("first", "second"):
        Path("model").mkdir(exist_ok=True)
        Path("model/saved_model.pb").write_text(graph)
        versions.publish("model", "runs/small/serving")
    Path("runs/small/lock").touch()
    return {}


@pytest.fixture
def rotten(request):
    """The same; the served one has a changed file."""
    request.getfixturevalue("versions")
    Path("runs/small/serving/2/saved_model.pb").write_text("decond")
    return {}


@pytest.fixture
def locked():
    """Another process works in the run's folder."""
    Path("runs/small").mkdir(parents=True)
    with lock.only_one(Path("runs/small"), "run small"):
        yield {}


@pytest.fixture
def busy():
    """Something else writes to the metadata of the run."""
    with case_.writing(Path("runs/small/metadata.sqlite")):
        yield {}


@pytest.fixture
def trained():
    """A run whose Trainer has finished."""
    folder = Path("runs/small/artifacts/Trainer/model_run/3")
    folder.mkdir(parents=True)
    (folder / "weights.npz").write_text("weights")
    checksums.seal(str(folder))
    return {}


@pytest.fixture
def judged():
    """A run that was judged on small examples."""
    Path("runs/small").mkdir(parents=True)
    run = judged_runs.Judged(Path("runs/small").resolve())
    run.judged(COMPLETE, run.made(1))
    return {}


@pytest.fixture
def endpoint_of_model(served, model):
    """A server with the small model."""
    return {"grpc": served.grpc}


@pytest.fixture
def failing(served, model):
    """A server that answers no request."""
    served.fails = lambda number: True
    return {"grpc": served.grpc}


@pytest.fixture
def kubeflow():
    """A server that answers like Kubeflow Pipelines."""
    api = Api()
    yield {"host": api.host, "api": api}
    api.close()


@pytest.fixture
def pipeline(kubeflow):
    """The same, and a compiled pipeline."""
    kinds = {"date": {"parameterType": "STRING"}, "settings": {"parameterType": "LIST"}}
    spec = {"pipelineInfo": {"name": "p"}, "root": {"inputDefinitions": {"parameters": kinds}}}
    Path("pipeline.yaml").write_text(json.dumps(spec))  # JSON is YAML
    return kubeflow


@pytest.fixture
def unauthorized(pipeline):
    """Wants a token."""
    pipeline["api"].token = "other"
    return pipeline


@pytest.fixture
def many(pipeline):
    """Serves many users."""
    pipeline["api"].multi_user = True
    return pipeline


@pytest.fixture
def gone(pipeline):
    """Nobody answers there."""
    return {"host": "http://127.0.0.1:1"}


@pytest.fixture
def no_kfp(pipeline):
    """An environment without kfp, as .venv is."""
    if importlib.util.find_spec("kfp"):
        pytest.skip("kfp is installed here")
    return pipeline


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A folder with a finished run of the smallest recipe."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "events.csv").write_text(case_.events(rows_a_day=100))
    (folder / "mine.py").write_text(case_.SMALL)
    assert main(["run", f"{folder}/mine.py", "--root", f"{folder}/runs"]) == PUSHED
    return folder


@pytest.fixture
def finished(run, monkeypatch):
    """That folder; what a case does there stays."""
    monkeypatch.chdir(run)
    return {}


# -- what is printed -------------------------------------------------------------------------------

#: What differs between machines, runs and versions of libraries, and lists that grow.
VARIES = {
    r"127\.0\.0\.1:\d{4,}": "HOST:PORT",
    r"process \d+ on \S+ since [^;\s]+": "process NUMBER on MACHINE since TIME",
    r"\b0\.\d{4}\b": "0.1234",
    r"take \d+\.\d+ MB": "take 1.23 MB",
    r"\(choose from [^)]*\)": "(choose from ...)",
    r"Looked in [^;]*": "Looked in ...",
    r"((?:[\w'.]+, ){4})(?:[\w'.]+, )+[\w'.]+": r"\1...",
    r"(to its end as \w+|is no SavedModel|cannot be loaded) \(.*?\);": r"\1 (...);",
    r"(warm-up requests|protobuf text|as parquet|are broken): .*?;": r"\1: ...;",
}
#: What a command is given for the names of a world.
SHOWN = {"grpc": "localhost:8500", "host": "http://localhost:8080"}


def printed(text, folder):
    """What a command printed, without what varies."""
    text = text.replace(f"{folder}/", "").replace(str(folder), ".")
    for pattern, instead in VARIES.items():
        text = re.sub(pattern, instead, text)
    return text.strip()


def row(case, text):
    """The case's row of the page."""
    if case.stderr:
        text = text[text.index("ncs4cvr: ") :]  # progress comes before it
    else:
        lines = (line for line in text.splitlines() if any(piece in line for piece in case.told))
        text = "\n".join(lines)
    text = re.sub(r"(artifacts/\w+/\w+/)\d+", r"\1N", text)  # by what ran before in that folder
    said = re.sub(r"\s*\n\s*", " / ", text.strip()).replace("|", r"\|")
    command = f"ncs4cvr {case.command.format(**SHOWN)}".strip().replace("|", r"\|")
    return f"| {case.about} | `{command}` | {case.status} | `` {said} `` |"


@pytest.fixture
def provoked(request, tmp_path, monkeypatch, capfd):
    """Runs a case: exit status and what was printed."""

    def provoke(case):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.delenv("KFP_TOKEN", raising=False)
        names = request.getfixturevalue(case.world)
        case_.put(Path.cwd(), case.files)
        capfd.readouterr()
        try:
            status = main(shlex.split(case.command.format(**names)))
        except SystemExit as ended:  # how argparse ends a command
            status = ended.code
        found = capfd.readouterr()
        return status, printed(found.err if case.stderr else found.out, Path.cwd())

    return provoke


@pytest.mark.parametrize("case", MARKED)
def test_an_error_names_place_value_and_cure(case, provoked, request):
    status, text = provoked(case)
    for piece in case.told:
        assert piece in text
    assert "Traceback" not in text
    assert status == case.status
    if written := request.config.getoption("--messages", None):
        keep(ROOT / written, case, text)
    assert row(case, text) in PAGE.read_text(encoding="utf-8"), (
        "`make messages` writes the page anew"
    )


def keep(page, case, text):
    """Writes the case's row into the page, in the order of the cases."""
    before, _, rest = page.read_text(encoding="utf-8").partition(START)
    known = {line.split(" | ")[0]: line for line in rest.partition(END)[0].splitlines()}
    known[f"| {case.about}"] = row(case, text)
    parts = []
    for title, cases in GROUPS.items():
        rows = [known[f"| {each.about}"] for each in cases if f"| {each.about}" in known]
        head = "| what is wrong | for instance | status | what is said |\n|---|---|---|---|"
        parts.append(f"## {title}\n\n{head}\n" + "\n".join(rows))
    text = "\n\n".join(parts)
    page.write_text(f"{before}{START}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


# -- nothing is left out ---------------------------------------------------------------------------

EXEMPT = load(HERE / "messages/exempt.py").EXEMPT


def fragments():
    """(place, longest fixed piece) of every message that the packages raise."""
    for room in ("schemas", "models", "components", "pipeline"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                    pieces = [
                        each.value
                        for argument in node.exc.args
                        for each in ast.walk(argument)
                        if isinstance(each, ast.Constant) and isinstance(each.value, str)
                    ]
                    if longest := max(pieces, key=len, default="").strip():
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", longest


def test_every_message_in_the_code_is_on_the_page_or_says_why_not():
    page = PAGE.read_text(encoding="utf-8")
    missing = [
        f"{place}: {piece}"
        for place, piece in fragments()
        if printed(piece, "/nowhere") not in page and piece not in EXEMPT
    ]
    assert not missing, "\n".join(missing)


def test_what_is_exempt_is_still_in_the_code():
    assert set(EXEMPT) <= {piece for _, piece in fragments()}


def test_the_page_has_one_row_a_case():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if " | `ncs4cvr" in line]
    assert {line.split(" | ")[0] for line in rows} == {f"| {case.about}" for case in CASES}
    assert len(rows) == len(CASES)
