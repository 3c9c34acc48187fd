"""``python -m harness.compare``: several methods under one budget, on one board."""

from collections.abc import Sequence

from harness.command_line import DONE, parse, run
from harness.console import make_console
from harness.lists import Lists, decided_by_data_sets, show_list
from harness.options import CompareOptions

EXAMPLES = """
Examples:
  python -m harness.compare --methods ucdir,uem,protoot --dataset shapes
  python -m harness.compare --methods ucdir,floor_csls --trials 20 --confirm 3
"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options, asked = parse(
        CompareOptions,
        Lists,
        arguments,
        prog="python -m harness.compare",
        description="Search the settings of several methods with the same budget each, show them "
        "on one board per directed pair, and write what each reaches after n trials.",
        examples=decided_by_data_sets(CompareOptions) + EXAMPLES,
    )
    console = make_console()
    if asked.list:
        show_list(asked.list, options.loss_module, console)
        return DONE
    # Here, because torch takes seconds to import and --help and wrong flags need none of it.
    from harness.commands.compare import run_compare_command

    return run_compare_command(options, console)


if __name__ == "__main__":
    run(main)
