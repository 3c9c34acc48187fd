"""The terminal."""

from rich.console import Console

PIPE_WIDTH = 140


class PatientConsole(Console):
    """A console whose reader may leave: rich alone would end the process with exit code 1."""

    def on_broken_pipe(self) -> None:
        """Leaves it to the command, which ends as it would have."""
        raise BrokenPipeError


def make_console() -> Console:
    """A console that does not squeeze tables into 80 columns when the output is a pipe."""
    console = PatientConsole(highlight=False)
    return console if console.is_terminal else PatientConsole(highlight=False, width=PIPE_WIDTH)
