"""The terminal."""

from rich.console import Console

PIPE_WIDTH = 140


def make_console() -> Console:
    """A console that does not squeeze tables into 80 columns when the output is a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)
