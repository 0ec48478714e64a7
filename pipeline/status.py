"""How a command ends: exit status, and the failure that carries one."""

DONE = PUSHED = 0  # `run` is done when it pushed
FAULT, USAGE, DATA_REFUSED, INTERRUPTED = 1, 2, 4, 130
NOT_BLESSED = 3  # or blessed, but not pushed
TERMINATED = 143


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a command as Ctrl-C does."""


class CommandFailed(Exception):
    """Ends a command with an exit status and a message for people."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
