"""``python -m harness.train``: one training of one pair, without Ray."""

from collections.abc import Sequence

from harness.command_line import DONE, parse, run
from harness.console import make_console
from harness.lists import ListsAndReplay, decided_by_data_sets, show_list
from harness.options import TrainOptions

EXAMPLES = """
Examples:
  python -m harness.train --pairs clipart-real --epochs 10
  python -m harness.train --pairs clipart-real --set K=20 tau=0.1
  python -m harness.train --replay TRIAL_ID --out results
"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options, asked = parse(
        TrainOptions,
        ListsAndReplay,
        arguments,
        prog="python -m harness.train",
        description="Train one method on one domain pair; the numbers are those of the same trial "
        "under harness.tune.",
        examples=decided_by_data_sets(TrainOptions) + EXAMPLES,
    )
    console = make_console()
    if asked.list:
        show_list(asked.list, options.loss_module, console)
        return DONE
    # Here, because torch takes seconds to import and --help and wrong flags need none of it.
    if asked.replay is not None:
        from harness.commands.replay import run_replay_command

        return run_replay_command(asked.replay, options, console)
    from harness.commands.train import run_train_command

    return run_train_command(options, console)


if __name__ == "__main__":
    run(main)
