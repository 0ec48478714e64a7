"""kill -9, SIGINT and SIGTERM: whenever a run stops, the next one ends right."""

import pytest

pytestmark = pytest.mark.faults

COMPONENTS = (
    "VideoLogExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "DriftValidator",
    "SkewValidator", "DataGate", "Transform", "TicketSearch", "Trainer", "Evaluator",
    "ModelGate", "ServingCheck", "Pusher",
)  # fmt: skip
WORDS = {"SIGKILL": "kill -9", "SIGINT": "SIGINT", "SIGTERM": "SIGTERM"}
ENDS = {
    "SIGKILL": (-9, "dies"),
    "SIGINT": (130, "ends with 130, keeps what is finished"),
    "SIGTERM": (143, "ends with 143, keeps what is finished"),
}


def stopped(world, component, moment, signal):
    seconds = world.summary()["seconds"][component]
    world.forget(component)
    fault = {"component": component, "moment": moment, "signal": signal, "after_s": seconds / 2}
    status, told = world.run(kind="stop", **fault)
    expected, ended = ENDS[signal]
    assert status == expected, told
    world.check_serving()
    world.check_right(*world.run())
    place = {"start": "at the start", "middle": "in the middle", "end": "at the end"}[moment]
    world.note(f"{WORDS[signal]} {place} of {component}", ended)


@pytest.mark.parametrize("moment", ["start", "middle", "end"])
@pytest.mark.parametrize("component", COMPONENTS)
def test_a_killed_run_is_followed_by_one_that_ends_right(world, component, moment):
    stopped(world, component, moment, "SIGKILL")


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("component", ["VideoLogExampleGen", "Trainer", "Evaluator"])
def test_a_stopped_run_says_so_and_is_followed_by_one_that_ends_right(world, component, signal):
    stopped(world, component, "middle", signal)
