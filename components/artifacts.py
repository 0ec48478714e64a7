"""Artifact types that TFX does not have."""

from tfx.types.artifact import Artifact

# Custom property of blessings and of what was pushed: the id of the model it is about. The
# Evaluator's name for it.
MODEL_ID = "current_model_id"

# Custom properties for the next day's run: of what was pushed, the id of the model's run; of a run,
# the last day that its model was trained on.
RUN_ID, TRAINED_TO = "model_run_id", "trained_to"

# Custom property of a PushedModel that is none: why a model that passed every gate was not pushed.
WHY_NOT = "why_not_pushed"


class TaskTickets(Artifact):
    """One lottery ticket per task: `tickets.npz` and `tickets.json` (models/pruning/tickets.py)."""

    TYPE_NAME = "TaskTickets"


class DeadLetters(Artifact):
    """Rows of a log that broke a rule (dead_letters-*.jsonl), and counts.json of all rows."""

    TYPE_NAME = "DeadLetters"
