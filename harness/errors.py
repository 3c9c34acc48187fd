"""Errors a user can mend, and the sentence that tells how."""

from collections.abc import Iterable
from difflib import get_close_matches


class UsageError(Exception):
    """The command line or the data is wrong: one clear sentence, exit code 2, no traceback."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Ends a sentence about an unknown name with the nearest valid one, or with all of them.

    Returns:
        ``Did you mean 'x'?`` where something is near, else ``Known: a, b, c.``
    """
    names = list(choices)
    folded = {choice.casefold(): choice for choice in names}
    near = get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    if near:
        return f"Did you mean '{folded[near[0]]}'?"
    return f"Known: {', '.join(names)}."
