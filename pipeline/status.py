"""How a command ends: exit status, and the failure that carries one."""

PUSHED, FAULT, USAGE, NOT_BLESSED, DATA_REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 130
TERMINATED = 143


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a command as Ctrl-C does."""


class CommandFailed(Exception):
    """Ends a command with an exit status and a message for people."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
