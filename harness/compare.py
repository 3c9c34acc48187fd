"""``python -m harness.compare``: several methods under one budget, on one board."""

from collections.abc import Sequence

from harness.command_line import DONE, parse, run
from harness.config import CompareOptions
from harness.console import make_console
from harness.lists import add_list_flag, load_for_list, show_list


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options, rest = parse(
        CompareOptions,
        arguments,
        prog="python -m harness.compare",
        description="Search the settings of several methods with the same budget each, show them "
        "on one board per directed pair, and write what each reaches after n trials.",
        extra=add_list_flag,
    )
    console = make_console()
    if rest.list:
        load_for_list(options.loss_module)
        show_list(rest.list, console)
        return DONE
    from harness.commands.compare import run_compare_command

    return run_compare_command(options, console)


if __name__ == "__main__":
    run(main)
