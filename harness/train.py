"""``python -m harness.train``: one training of one pair, without Ray."""

from collections.abc import Sequence

from harness.command_line import DONE, parse, run
from harness.config import TrainOptions
from harness.console import make_console
from harness.lists import add_list_flag, show_list


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options, rest = parse(
        TrainOptions,
        arguments,
        prog="python -m harness.train",
        description="Train one method on one domain pair; the numbers are those of the same trial "
        "under harness.tune.",
        extra=add_list_flag,
    )
    console = make_console()
    if rest.list:
        show_list(rest.list, console)
        return DONE
    from harness.search.one_training import run_train_command

    return run_train_command(options, console)


if __name__ == "__main__":
    run(main)
