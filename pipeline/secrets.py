"""Passwords and tokens in what people and log files get to see: not there."""

from __future__ import annotations

import logging
import os

from ncs4cvr.schemas.checks import without_secrets

VARIABLES = ("KFP_TOKEN",)  # of the environment, whose values are secret


def hidden(text: str) -> str:
    """The text with *** in place of every secret.

    >>> hidden("http://me:hunter2@host answered 401")
    'http://me:***@host answered 401'
    """
    return without_secrets(text, [os.environ.get(name, "") for name in VARIABLES])


class Formatter(logging.Formatter):
    """Formats a record, exceptions and all, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Called by logging."""
        return hidden(super().format(record))
