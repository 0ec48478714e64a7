"""Artifact types that TFX does not have."""

from tfx.types.artifact import Artifact


class TaskTickets(Artifact):
    """One lottery ticket per task: `tickets.npz` and `tickets.json` (ncs4cvr.models.tickets)."""

    TYPE_NAME = "TaskTickets"
