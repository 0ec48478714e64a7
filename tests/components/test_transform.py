"""A day keeps what Transform learned for the last pushed model, until an analysis is due."""

import dataclasses
from pathlib import Path

import pytest
from tfx import types
from tfx.components.transform import executor as tfx_executor
from tfx.types import standard_artifacts

from ncs4cvr.components import analysis, transform
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Label, Log, Split, Tally
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Task

LABEL, OTHER = Label("click", "is_click"), Label("like", "is_like")
TALLY = Tally("shown", "user", "impression")
LOG = Log(events="", labels=(LABEL,))
RECIPE = Recipe(
    name="tiny",
    log=LOG,
    features=(Feature("user"), Feature("video", min_count=2)),
    tasks=(Task("ctr", "click"),),
    analyze_every_days=3,
)
SCHEMA = 'feature { name: "user" type: INT } feature { name: "video" type: INT }'


@pytest.fixture(autouse=True)
def learned(monkeypatch):
    """What TFX's executor would have learned: (files of) the graph that the next analysis gives."""
    graph = {"transform_fn/saved_model.pb": "graph 1", "transform_fn/assets/vocabulary_user": "7"}

    def do(self, input_dict, output_dict, exec_properties):
        write(output_dict["transform_graph"][0].uri, graph)

    monkeypatch.setattr(tfx_executor.Executor, "Do", do)
    return graph


@pytest.fixture
def days(tmp_path):
    return Days(tmp_path)


class Days:
    """Runs Transform on days of January; the rows are analyzed up to that day."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, day, last_run=None, recipe=RECIPE, schema=SCHEMA, code="1"):
        """Returns the folder of the graph."""
        log = dataclasses.replace(recipe.log, splits=(Split("train", "2022-01-01", day),))
        component = transform.Transform(
            types.Channel(standard_artifacts.Examples),
            types.Channel(standard_artifacts.Schema),
            recipe=recipe.replace(log=log).to_json(),
            code_version=code,
        )
        out, where = self.folder / day / "graph", self.folder / day / "schema"
        write(where, {"schema.pbtxt": schema})
        inputs = {"schema": [artifact(standard_artifacts.Schema, where)]}
        if last_run:
            inputs["last_run"] = [artifact(standard_artifacts.ModelRun, last_run)]
        outputs = {"transform_graph": [artifact(standard_artifacts.TransformGraph, out)]}
        transform.Executor().Do(inputs, outputs, component.exec_properties)
        return out

    def push(self, graph):
        """The folder of a run whose model was trained with a graph, as the Trainer leaves it."""
        run = graph.parent / "run"
        write(run / analysis.GRAPH, files(graph))
        return run


def artifact(kind, folder):
    made = kind()
    made.uri = str(folder)
    return made


def write(folder, texts):
    for name, text in texts.items():
        file = Path(folder, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def files(folder):
    return {str(f.relative_to(folder)): f.read_text() for f in folder.rglob("*") if f.is_file()}


def graph_of(folder):
    """The graph's own files."""
    found = files(folder)
    del found[analysis.FILE]
    return found


def decision(graph):
    return analysis.read(str(graph))["decision"]


def test_the_first_day_learns_and_says_why(days, learned):
    graph = days.run("2022-01-03")
    assert graph_of(graph) == learned
    assert decision(graph) == {"analyzed": True, "why": "no model of an earlier day was pushed"}


def test_the_next_day_keeps_the_graph_byte_by_byte(days, learned):
    first = days.run("2022-01-03")
    before = graph_of(first)
    learned["transform_fn/saved_model.pb"] = "graph 2"
    second = days.run("2022-01-04", days.push(first))
    assert graph_of(second) == before
    assert decision(second) == {
        "analyzed": False,
        "why": "they are 1 days old; analyze_every_days is 3",
        "analyzed_on": "2022-01-03",
    }


def test_age_is_counted_from_the_analysis_over_all_days_that_kept_it(days, learned):
    graph = days.run("2022-01-03")
    for day in ("2022-01-04", "2022-01-05"):
        graph = days.run(day, days.push(graph))
        assert decision(graph)["analyzed_on"] == "2022-01-03"
    learned["transform_fn/saved_model.pb"] = "graph 2"
    graph = days.run("2022-01-06", days.push(graph))
    assert graph_of(graph) == learned
    why = "they are 3 days old; analyze_every_days is 3"
    assert decision(graph) == {"analyzed": True, "why": why}
    graph = days.run("2022-01-07", days.push(graph))
    assert decision(graph)["analyzed_on"] == "2022-01-06"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"recipe": RECIPE.replace(analyze_every_days=0)}, "analyze_every_days is 0"),
        ({"recipe": RECIPE.replace(features=RECIPE.features[:1])}, "features changed"),
        (
            {"recipe": RECIPE.replace(features=(Feature("user"), Feature("video", min_count=3)))},
            "features changed",
        ),
        (
            {"recipe": RECIPE.replace(log=dataclasses.replace(LOG, utc_offset_hours=8))},
            "utc_offset_hours changed",
        ),
        (
            {"recipe": RECIPE.replace(log=dataclasses.replace(LOG, labels=(LABEL, OTHER)))},
            "labels changed",
        ),
        (
            {"recipe": RECIPE.replace(log=dataclasses.replace(LOG, columns=(("user", "uid"),)))},
            "log_columns changed",
        ),
        (
            {"recipe": RECIPE.replace(log=dataclasses.replace(LOG, tallies=(TALLY,)))},
            "tallies changed",
        ),
        ({"schema": SCHEMA.replace("INT", "FLOAT", 1)}, "columns changed"),
        ({"code": "2"}, "code changed"),
    ],
)
def test_what_an_analysis_depends_on_makes_a_day_learn_anew(days, learned, changes, why):
    pushed = days.push(days.run("2022-01-03"))
    learned["transform_fn/saved_model.pb"] = "graph 2"
    graph = days.run("2022-01-04", pushed, **changes)
    assert graph_of(graph) == learned
    assert decision(graph)["analyzed"]
    assert decision(graph)["why"].startswith(why)


def test_a_schema_that_only_bounds_values_otherwise_changes_nothing(days):
    pushed = days.push(days.run("2022-01-03"))
    bounded = SCHEMA.replace("type: INT", "type: INT int_domain { min: 0 }")
    assert not decision(days.run("2022-01-04", pushed, schema=bounded))["analyzed"]


def test_a_run_that_kept_no_vocabularies_makes_the_next_day_learn(days, tmp_path):
    graph = days.run("2022-01-04", tmp_path)
    assert "trained with analyze_every_days=0" in decision(graph)["why"]
