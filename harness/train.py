"""``python -m harness.train``: one training of one pair, without Ray."""

import argparse
from collections.abc import Sequence

from harness.command_line import DONE, parse, run
from harness.config import TrainOptions
from harness.console import make_console
from harness.lists import add_list_flag, load_for_list, show_list


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options, rest = parse(
        TrainOptions,
        arguments,
        prog="python -m harness.train",
        description="Train one method on one domain pair; the numbers are those of the same trial "
        "under harness.tune.",
        extra=_add_flags,
    )
    console = make_console()
    if rest.list:
        load_for_list(options.loss_module)
        show_list(rest.list, console)
        return DONE
    if rest.replay is not None:
        from harness.commands.replay import run_replay_command

        return run_replay_command(rest.replay, options, console)
    from harness.commands.train import run_train_command

    return run_train_command(options, console)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add_list_flag(parser)
    parser.add_argument(
        "--replay",
        metavar="TRIAL_ID",
        help="train the trial of a row once more, and say which epoch differs first, if any",
    )


if __name__ == "__main__":
    run(main)
