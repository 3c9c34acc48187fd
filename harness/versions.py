"""Versions of what a trial's numbers depend on."""

import importlib.metadata
import json
import platform
from functools import cache

VERSIONED = ("torch", "torchvision", "timm", "ray", "optuna", "numpy", "scipy", "pandas", "pyarrow")


def versions() -> dict[str, str]:
    """By name: Python, and every installed library of ``VERSIONED``."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def versions_json() -> str:
    """The versions as JSON, as rows record them."""
    return json.dumps(versions(), sort_keys=True)
