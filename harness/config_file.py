"""The JSON file of ``--config``: the flags of an earlier run, checked like those of the command."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from harness.config import CompareOptions, TrainOptions, from_json
from harness.errors import UsageError, nearest

Options = TypeVar("Options", bound=TrainOptions)

ALL_NAMES = tuple(item.name for item in dataclasses.fields(CompareOptions))
"""The flags of every command: a search's file also serves ``harness.train``, which has fewer."""

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path as text",
    tuple: "a list of texts",
    types.NoneType: "null",
}


def read_config_file(kind: type[Options], path: Path) -> Options:
    """Reads the options; what the file does not name keeps its default.

    Args:
        kind: options of the command; flags that only another command has are passed over.
        path: of the file.

    Raises:
        UsageError: the file cannot be read or is no JSON object, or it holds an unknown key, a
            value of the wrong type or a word that is none of the choices.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(
            f"The configuration {path} cannot be read ({reason}); give --config the JSON "
            "file that a run has written."
        ) from error
    try:
        held = json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"The configuration {path} is not one that a run has written ({error})."
        ) from error
    if not isinstance(held, Mapping):
        raise UsageError(
            f"The configuration {path} is not one that a run has written (no JSON object of flags)."
        )
    flags = dict(held)
    if flags.pop("warm_start", False):
        raise UsageError(
            f"The configuration {path} asks for a warm start, which saved nothing and is gone: "
            "leave 'warm_start' out."
        )
    items = {item.name: item for item in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for name, value in flags.items():
        if name not in ALL_NAMES:
            raise UsageError(
                f"The configuration {path} has an unknown key '{name}'. {nearest(name, ALL_NAMES)}"
            )
        if name in items:
            _check(path, items[name], hints[name], value)
    return from_json(kind, json.dumps({k: v for k, v in flags.items() if k in items}))


def _check(path: Path, item: "dataclasses.Field[Any]", hint: Any, value: Any) -> None:
    kinds = _kinds(hint)
    if not any(_is(value, kind) for kind in kinds):
        wanted = " or ".join(_WORDS[kind] for kind in kinds)
        raise UsageError(
            f"In the configuration {path} '{item.name}' takes {wanted}, not {json.dumps(value)}."
        )
    choices = item.metadata["choices"]
    if choices is not None and value not in choices:
        raise UsageError(
            f"In the configuration {path} '{item.name}' cannot be '{value}'. "
            f"{nearest(value, choices)}"
        )


def _kinds(hint: Any) -> tuple[type, ...]:
    """The plain types of an annotation, such as int and None of ``int | None``."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return tuple(kind for part in typing.get_args(hint) for kind in _kinds(part))
    return (typing.get_origin(hint) or hint,)


def _is(value: Any, kind: type) -> bool:
    """Whether a JSON value is one of the type; true and false are no numbers."""
    if kind is tuple:
        return isinstance(value, list) and all(isinstance(entry, str) for entry in value)
    if kind is Path:
        return isinstance(value, str)
    if kind in (int, float):
        numbers = (int,) if kind is int else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool)
    return isinstance(value, kind)
