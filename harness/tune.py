"""``python -m harness.tune``: search over all domain pairs of a data set."""

from collections.abc import Sequence

from harness.command_line import DONE, parse, run
from harness.console import make_console
from harness.lists import Lists, decided_by_data_sets, show_list
from harness.options import TuneOptions

EXAMPLES = """
Examples:
  python -m harness.tune --dataset shapes
  python -m harness.tune --dataset officehome --data-root DIR --trials 40
  python -m harness.tune --dataset folder --data-root DIR --pairs A-B
  python -m harness.tune --method uem protoot --space tau=0.05:0.2:log
  python -m harness.tune --config results/shapes/config/STUDY_ID.json
"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options, asked = parse(
        TuneOptions,
        Lists,
        arguments,
        prog="python -m harness.tune",
        description="Search the settings of a method over the domain pairs of a data set, and "
        "write a Parquet leaderboard for every pair.",
        examples=decided_by_data_sets(TuneOptions) + EXAMPLES,
    )
    console = make_console()
    if asked.list:
        show_list(asked.list, options.loss_module, console)
        return DONE
    # Here, because torch takes seconds to import and --help and wrong flags need none of it.
    from harness.commands.search import run_search_command

    return run_search_command(options, console)


if __name__ == "__main__":
    run(main)
