"""The command lines, read from the option classes of :mod:`harness.options`."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn, TypeVar

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict
from cyclopts.exceptions import UnknownOptionError, UnusedCliTokensError, ValidationError

from harness.config_file import read_config_file
from harness.console import PatientConsole
from harness.errors import UsageError, nearest
from harness.options import OUTPUT, TrainOptions

Options = TypeVar("Options", bound=TrainOptions)
Request = TypeVar("Request")

DONE, TRIAL_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

EVERY_FLAG = Parameter(negative="", consume_multiple=1, allow_repeating=True)


def parse(
    kind: type[Options],
    request: type[Request],
    arguments: Sequence[str],
    *,
    prog: str,
    description: str,
    examples: str = "",
) -> tuple[Options, Request]:
    """Reads the command line; an explicit flag goes before the file of ``--config``.

    Args:
        kind: the flags that a file may hold.
        request: those that ask for something else than the command's own work.
        arguments: of the command line.
        prog: what was called.
        description: what it does.
        examples: shown at the end of ``--help``.

    Raises:
        UsageError: an unknown flag, a value of the wrong kind, a bad configuration file.
        SystemExit: ``--help`` was asked for and has been shown.
    """
    no_flags, no_request = kind(), request()

    def command(
        *,
        options: Annotated[kind, Parameter(name="*")] = no_flags,  # type: ignore[valid-type]
        asked: Annotated[request, Parameter(name="*")] = no_request,  # type: ignore[valid-type]
    ) -> tuple[Options, Request]:
        return options, asked

    app = App(
        name=prog,
        help=description,
        help_epilogue=examples,
        help_format="plaintext",
        console=PatientConsole(),
        version_flags=[],
        default_parameter=EVERY_FLAG,
        result_action="return_value",
    )
    app.default(command)
    app["--help"].group = OUTPUT
    read = _call(app, arguments)
    path = read[0].config
    if path is not None:
        app.config = [Dict(read_config_file(kind, path), source=str(path))]
        read = _call(app, arguments)
    return read


def _call(app: App, arguments: Sequence[str]) -> Any:
    try:
        read = app(list(arguments), exit_on_error=False, print_error=False)
    except UnknownOptionError as error:
        flag = str(error.token.keyword)
        names = {name for entry in app.assemble_argument_collection() for name in entry.names}
        known = [*sorted(names - {"*"}), "--help"]
        raise UsageError(f"There is no flag '{flag}'. {nearest(flag, known)}") from error
    except UnusedCliTokensError as error:
        unused = (error.unused_tokens or [""])[0]
        raise UsageError(f"'{unused}' belongs to no flag. See --help.") from error
    except ValidationError as error:
        wanted = error.exception_message.removesuffix(".").lower()
        name, value = (error.argument.name, error.argument.value) if error.argument else ("", "")
        raise UsageError(f"{name} {wanted}, not {value}.") from error
    except CycloptsError as error:
        said = " ".join(str(error).split()).replace('"', "'")
        raise UsageError(f"{said} See --help.") from error
    if read is None:
        raise SystemExit(DONE)
    return read


def run(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Calls a command and turns its outcome into an exit code."""
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        code = USAGE
    except KeyboardInterrupt:
        print(
            "Interrupted. A search goes on where it stopped with the same command.", file=sys.stderr
        )
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of our output closed it (| head); that is no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = DONE
    sys.exit(code)
