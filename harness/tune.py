"""``python -m harness.tune``: search over all domain pairs of a data set."""

from collections.abc import Sequence

from harness.command_line import DONE, parse, run
from harness.config import TuneOptions
from harness.console import make_console
from harness.lists import add_list_flag, load_for_list, show_list


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options, rest = parse(
        TuneOptions,
        arguments,
        prog="python -m harness.tune",
        description="Search the settings of a method over the domain pairs of a data set, and "
        "write a Parquet leaderboard for every pair.",
        extra=add_list_flag,
    )
    console = make_console()
    if rest.list:
        load_for_list(options.loss_module)
        show_list(rest.list, console)
        return DONE
    # Here, because torch takes seconds to import and --help and wrong flags need none of it.
    from harness.commands.search import run_search_command

    return run_search_command(options, console)


if __name__ == "__main__":
    run(main)
