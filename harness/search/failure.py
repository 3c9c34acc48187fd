"""Why a trial failed, in the words a user needs."""

import traceback
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Failure:
    """A trial's error.

    Attributes:
        type: name of the exception.
        last_line: its message.
        frame: ``file:line function`` where it was raised, the project's or the user's own code
            before that of libraries.
        trace: the whole traceback.
    """

    type: str
    last_line: str
    frame: str
    trace: str

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """The failure of an exception that was caught where it happened."""
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
        frame = f"{_short(own[-1].filename)}:{own[-1].lineno} {own[-1].name}" if own else ""
        lines = str(error).strip().splitlines()
        return cls(
            type=type(error).__name__,
            last_line=lines[-1] if lines else "",
            frame=frame,
            trace="".join(traceback.format_exception(error)),
        )


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else path.name
