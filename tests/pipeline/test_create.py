"""The wiring: what waits for what, and which choices leave components out."""

import json
import subprocess
import sys

import pytest
from tfx.components import ImportExampleGen
from tfx.dsl.compiler import compiler
from tfx.types import standard_artifacts

from ncs4cvr.pipeline import recipe_files
from ncs4cvr.pipeline.code_version import sources
from ncs4cvr.pipeline.create import Places, create_pipeline
from ncs4cvr.pipeline.recipe_parts import SERVING_BOUNDS

PLACES = Places(artifacts="/a", serving="/s", checkpoints="/c")


@pytest.fixture
def recipe(tiny_recipe_file):
    return recipe_files.load(str(tiny_recipe_file))


def components(recipe, places=PLACES, **options):
    return {c.id: c for c in create_pipeline(recipe, places, **options).components}


def test_transform_waits_for_the_gate_which_is_no_input_of_it(recipe):
    found = components(recipe)
    assert found["DataGate"] in found["Transform"].upstream_nodes
    assert set(found["Transform"].inputs) == {"examples", "schema"}


def test_transform_analyzes_the_training_split_and_writes_no_rows(recipe):
    transform = components(recipe)["Transform"]
    assert list(json.loads(transform.exec_properties["splits_config"])["analyze"]) == ["train"]
    assert set(transform.outputs) == {"transform_graph"}


def test_the_gate_reads_all_three_validators(recipe):
    gate = components(recipe)["DataGate"]
    assert {node.id for node in gate.upstream_nodes} >= {
        "ExampleValidator",
        "DriftValidator",
        "SkewValidator",
    }


def test_only_ncs4cvr_searches_for_tickets(recipe):
    assert "TicketSearch" in components(recipe)
    found = components(recipe.replace(sharing="shared_bottom"))
    assert not {"TicketSearch", "ImportTickets"} & set(found)
    assert "tickets" not in found["Trainer"].inputs


def test_given_tickets_are_imported_instead(recipe):
    places = Places("/a", "/s", "/c", tickets="/t", tickets_digest="1")
    found = components(recipe, places)
    assert "TicketSearch" not in found
    assert found["ImportTickets"] in found["Trainer"].upstream_nodes


def test_a_curated_schema_takes_the_place_of_an_inferred_one(recipe):
    assert "SchemaGen" in components(recipe)
    places = Places("/a", "/s", "/c", schema="/x.pbtxt")
    assert "ImportSchemaGen" in components(recipe, places)


def test_any_other_example_gen_may_stand_in(recipe):
    other = ImportExampleGen(input_base="/logs")
    found = components(recipe, example_gen=other)
    assert "VideoLogExampleGen" not in found
    assert found["StatisticsGen"] in other.downstream_nodes


def test_the_evaluator_looks_at_the_raw_test_split(recipe):
    evaluator = components(recipe)["Evaluator"]
    assert json.loads(evaluator.exec_properties["example_splits"]) == ["test"]
    assert "VideoLogExampleGen" in {node.id for node in evaluator.upstream_nodes}


def test_the_pusher_takes_the_model_from_the_serving_check(recipe):
    found = components(recipe)
    assert set(found["Pusher"].inputs) == {"model_blessing", "infra_blessing"}
    assert found["ServingCheck"] in found["Pusher"].upstream_nodes
    assert found["ModelGate"] in found["ServingCheck"].upstream_nodes
    assert set(found["ServingCheck"].inputs) == {"model", "model_run"}


def test_the_pusher_is_told_the_day_that_training_goes_to(recipe):
    told = json.loads(components(recipe)["Pusher"].exec_properties["custom_config"])
    assert told["trained_to"] == recipe.log.splits[0].last


def test_the_gate_judges_what_the_evaluator_saw_and_the_pusher_waits_for_it(recipe):
    found = components(recipe)
    gate, evaluator = found["ModelGate"], found["Evaluator"]
    assert {node.id for node in gate.upstream_nodes} >= {"Evaluator", "Trainer", "LastBlessedModel"}
    assert gate.inputs["evaluated"] is evaluator.outputs["blessing"]
    assert (
        gate.exec_properties["split"] == json.loads(evaluator.exec_properties["example_splits"])[0]
    )
    assert found["Pusher"].inputs["model_blessing"] is gate.outputs["blessing"]


def test_gates_and_slices_concern_the_evaluator_and_the_gate_alone(recipe):
    changed = recipe.replace(gates=recipe.gates[:1], slices=())
    before, after = components(recipe), components(changed)
    moved = {n for n, c in before.items() if c.exec_properties != after[n].exec_properties}
    assert moved == {"Evaluator", "ModelGate"}


def test_how_far_days_may_differ_concerns_the_data_gate_alone(recipe):
    changed = recipe.replace(day_change=3.0, day_auc_change=0.1)
    before, after = components(recipe), components(changed)
    moved = {n for n, c in before.items() if c.exec_properties != after[n].exec_properties}
    assert moved == {"DataGate"}


def test_only_a_pushed_model_is_what_the_next_is_compared_with(recipe):
    last = components(recipe)["LastBlessedModel"]
    assert last.inputs["blessing"].type is standard_artifacts.PushedModel


@pytest.mark.parametrize("bound", SERVING_BOUNDS)
def test_a_bound_on_serving_concerns_the_check_alone(recipe, bound):
    before, after = components(recipe), components(recipe.replace(**{bound: 0.5}))
    for name, component in before.items():
        same = component.exec_properties == after[name].exec_properties
        assert same == (name != "ServingCheck"), name
    assert after["ServingCheck"].exec_properties[bound] == 0.5


def test_the_check_is_done_anew_when_what_it_starts_changes():
    assert "ncs4cvr.components.serving_replay" in sources("ncs4cvr.components.serving_check")


def test_a_warm_start_reads_the_run_of_an_earlier_day(recipe):
    found = components(recipe.replace(warm_start="on", search_every_days=3, analyze_every_days=3))
    for name in ("Transform", "TicketSearch", "Trainer"):
        assert found["LastRun"] in found[name].upstream_nodes
    assert "model_run" in found["Pusher"].inputs


@pytest.mark.parametrize(
    ("changes", "reading"),
    [
        ({}, set()),
        ({"warm_start": "on"}, {"Trainer"}),
        ({"search_every_days": 3}, {"TicketSearch"}),
        ({"analyze_every_days": 3}, {"Transform"}),
    ],
)
def test_only_what_renews_itself_looks_back(recipe, changes, reading):
    found = components(recipe.replace(**changes))
    steps = ("Transform", "TicketSearch", "Trainer")
    assert {name for name in steps if "last_run" in found[name].inputs} == reading
    assert ("LastRun" in found) == bool(reading)


def test_it_compiles(recipe):
    ir = compiler.Compiler().compile(create_pipeline(recipe, PLACES))
    assert ir.pipeline_info.id == "tiny"


def test_building_a_pipeline_loads_no_model_code(tiny_recipe_file):
    code = f"""
import sys
from ncs4cvr.pipeline import recipe_files
from ncs4cvr.pipeline.create import Places, create_pipeline
create_pipeline(recipe_files.load({str(tiny_recipe_file)!r}), Places("/a", "/s", "/c"))
print([name for name in sys.modules if name.startswith("ncs4cvr.models")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[]", done.stderr
