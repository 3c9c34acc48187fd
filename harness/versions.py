"""Versions of what a trial's numbers depend on."""

import importlib.metadata
import json
import platform
import subprocess
from functools import cache
from pathlib import Path

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


@cache
def git_commit() -> str:
    """Commit of this project, with ``+`` behind it if files differ; "" outside a checkout."""
    root = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    if not (root / ".git").exists():
        return ""
    dirty = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "--short=12", "HEAD") + ("+" if dirty else "")
