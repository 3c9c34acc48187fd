"""The file of ``--config``: flags of an earlier run, or written by hand, as TOML or JSON."""

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.errors import UsageError, nearest
from harness.options import CompareOptions, TrainOptions

ALL_NAMES = tuple(item.name for item in dataclasses.fields(CompareOptions))
"""The flags of every command: a search's file also serves ``harness.train``, which has fewer."""


def read_config_file(kind: type[TrainOptions], path: Path) -> dict[str, Any]:
    """Reads the flags of a file; what it does not name, or names null, keeps its default.

    Args:
        kind: options of the command; flags that only another command has are passed over.
        path: of the file; ``.toml``, or JSON.

    Raises:
        UsageError: the file cannot be read, or it holds an unknown key or a wrong value.
    """
    flags = _read(path)
    if flags.pop("warm_start", False):
        raise UsageError(
            f"The configuration {path} asks for a warm start, which saved nothing and is gone: "
            "leave 'warm_start' out."
        )
    for name in flags:
        if name not in ALL_NAMES:
            raise UsageError(
                f"The configuration {path} has an unknown key '{name}'. {nearest(name, ALL_NAMES)}"
            )
    names = {item.name for item in dataclasses.fields(kind)}
    known = {name: value for name, value in flags.items() if name in names}
    try:
        TypeAdapter(kind).validate_json(json.dumps(known), strict=True)
    except ValidationError as error:
        found = error.errors()[0]
        wanted = found["msg"].removeprefix("Input ")
        raise UsageError(
            f"In the configuration {path} '{found['loc'][0]}' {wanted}, "
            f"not {json.dumps(found['input'])}."
        ) from error
    return {name: value for name, value in known.items() if value is not None}


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(
            f"The configuration {path} cannot be read ({reason}); give --config a TOML or JSON "
            "file, such as a run has written."
        ) from error
    try:
        if path.suffix.lower() == ".toml":
            # Dates are no value of a flag; as text they get the sentence that other texts get.
            text = json.dumps(tomllib.loads(text), default=str)
        flags = json.loads(text)
    except ValueError as error:
        raise UsageError(f"The configuration {path} cannot be read ({error}).") from error
    if not isinstance(flags, dict):
        raise UsageError(f"The configuration {path} cannot be read (no object of flags).")
    return flags
