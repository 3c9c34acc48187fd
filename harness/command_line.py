"""The command lines, generated from the option dataclasses of :mod:`harness.config`."""

import argparse
import dataclasses
import os
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from harness.config import TrainOptions
from harness.config_file import read_config_file
from harness.errors import UsageError, nearest

Options = TypeVar("Options", bound=TrainOptions)

DONE, TRIAL_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class _Parser(argparse.ArgumentParser):
    """Reports a wrong flag as a :class:`UsageError` with the nearest valid one."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            flag = unknown.split()[0].partition("=")[0]
            known = [text for action in self._actions for text in action.option_strings]
            raise UsageError(f"There is no flag '{flag}'. {nearest(flag, known)}")
        raise UsageError(f"{message[:1].upper()}{message[1:]}. See --help.")


def parse(
    kind: type[Options],
    arguments: Sequence[str],
    *,
    prog: str,
    description: str,
    extra: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> tuple[Options, argparse.Namespace]:
    """Reads the command line; an explicit flag goes before the file of ``--config``.

    Returns:
        The options, and what ``extra`` added to the parser.

    Raises:
        UsageError: an unknown flag, a value of the wrong kind, a bad configuration file.
    """
    parser = _Parser(
        prog=prog,
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        _add_flag(parser, item, hints[item.name])
    extra(parser)
    given = vars(parser.parse_args(list(arguments)))
    names = {item.name for item in dataclasses.fields(kind)}
    explicit = {name: _as_tuple(value) for name, value in given.items() if name in names}
    rest = argparse.Namespace(**{k: v for k, v in given.items() if k not in names})
    base = kind()
    if "config" in explicit:
        base = read_config_file(kind, explicit["config"])
    return dataclasses.replace(base, **explicit), rest


def _add_flag(parser: argparse.ArgumentParser, item: Any, hint: Any) -> None:
    flag = "--" + item.name.replace("_", "-")
    text = item.metadata["help"]
    if hint is bool:
        parser.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=text)
        return
    several = item.metadata["several"]
    default = item.default
    if default not in (None, (), ""):
        shown = " ".join(default) if several else default
        text = f"{text} (default: {shown})"
    kind = str if several else _plain_type(hint)
    arguments: dict[str, Any] = {
        "type": kind,
        "default": argparse.SUPPRESS,
        "help": text.replace("%", "%%"),
        "choices": item.metadata["choices"],
    }
    if item.metadata["choices"] is None:
        arguments["metavar"] = item.metadata["metavar"] or item.name.upper()
    if several:
        arguments |= {"nargs": "+", "action": "extend"}
    parser.add_argument(flag, **arguments)


def _plain_type(hint: Any) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return hint


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


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
