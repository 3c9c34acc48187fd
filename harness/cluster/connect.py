"""Where Ray runs: started here for one search, or a cluster that is there already.

This module is imported before anything imports ray, which reads the variables set below (how much
it says, whether it presents a token, how nice its processes are) when it is imported.
"""

import importlib.util
import logging
import os
import re
import secrets
import socket
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import UsageError

QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "16",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray would start its processes 15 levels of niceness below the command, and beside any other
    # load of the machine the trials would starve.
    "RAY_worker_niceness": "0",
}
OF_WORKERS = ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",)
"""Those that matter in the processes that train."""

LOCAL = "local"
PACKAGES = ("harness", "losses", "models")
EXCLUDED = ("__pycache__/", ".*_cache/", "*.egg-info/", "*.pyc")
OBJECT_STORE_BYTES = 256 * 2**20
REACH_SECONDS = 5.0


def token_available() -> bool:
    """Whether Ray would find an authentication token in this process."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return (Path(path) if path else Path.home() / ".ray" / "auth_token").is_file()


def _prepare_environment() -> None:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    # Ray itself presents a token to an address only where the mode is named; a
    # cluster that wants none takes no offence at one.
    if token_available():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


_prepare_environment()

import ray  # noqa: E402
from ray._private.services import canonicalize_bootstrap_address  # noqa: E402


def connect(address: str | None = None) -> bool:
    """Connects this process to Ray, unless it is connected already.

    Args:
        address: ``local`` starts Ray for this process alone; ``auto`` is the cluster that runs on
            this machine or that a submitted job belongs to; or HOST:PORT. None:
            ``$RAY_ADDRESS``, which ``ray job submit`` sets, else ``local``.

    Returns:
        Whether Ray is a cluster that was there before, so that trials may run on other machines.

    Raises:
        UsageError: no cluster is there, it refuses the token, or it cannot be joined from here.
    """
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    wanted = address or os.environ.get("RAY_ADDRESS") or LOCAL
    if not ray.is_initialized():
        if wanted == LOCAL:
            _start()
        else:
            _attach(wanted)
    return wanted != LOCAL


def shipped_code() -> dict[str, Any]:
    """The runtime environment that brings this project's four packages to every node.

    Packages instead of the working folder: results, virtual environments, caches, tests and
    ``.git`` stay here whatever they are called. What a job submission brought stays in force.
    """
    return {
        "py_modules": [str(package_folder(name)) for name in PACKAGES],
        "excludes": list(EXCLUDED),
        "env_vars": {name: os.environ[name] for name in OF_WORKERS},
    }


def package_folder(name: str) -> Path:
    """Folder of an importable package."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"No package named '{name}'", name=name)
    return Path(next(iter(found.submodule_search_locations)))


def _start() -> None:
    if not token_available():
        # Ray would write one to the home folder, and every later `ray start` on this machine
        # would demand it.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    ray.init(
        address=LOCAL,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=OBJECT_STORE_BYTES,
    )


def _attach(address: str) -> None:
    reached = _reachable(address)
    try:
        with _few_attempts(), _hushed_stderr():
            ray.init(
                address=reached,
                runtime_env=shipped_code(),
                log_to_driver=False,
                logging_level="ERROR",
            )
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        ray.shutdown()
        raise UsageError(refusal(reached, error)) from error


def _reachable(address: str) -> str:
    """HOST:PORT of the cluster, after something has answered there.

    Ray waits for more than a minute at an address where nothing listens.
    """
    if "://" in address:
        raise UsageError(
            f"The address '{address}' is one of Ray Client, which a search cannot use: run the "
            "command on a machine of the cluster with --address auto, or hand it over with "
            "'ray job submit'."
        )
    if address != "auto" and not re.fullmatch(r"(\[[^\]]+\]|[^:\s]+):\d{1,5}", address):
        raise UsageError(f"The address '{address}' is none of local, auto and HOST:PORT.")
    try:
        found = canonicalize_bootstrap_address(address)
    except (OSError, ValueError) as error:
        raise UsageError(_nothing_at(address)) from error
    if found is None:
        raise UsageError(_nothing_at(address))
    host, _, port = found.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(_nothing_at(found if address == "auto" else address)) from error
    return found


def _nothing_at(address: str) -> str:
    if address == "auto":
        return (
            "No Ray cluster runs on this machine: start one with 'ray start --head', or name one "
            "with --address HOST:PORT."
        )
    return (
        f"No Ray cluster answers at {address}: start it with 'ray start --head' on that machine, "
        "or correct --address (and the variable RAY_ADDRESS, if it is set)."
    )


def refusal(address: str, error: BaseException) -> str:
    """One sentence for an error of Ray that kept this process from joining a cluster."""
    text = "".join(traceback.format_exception(error))
    if isinstance(error, ray.exceptions.AuthenticationError) or "InvalidAuthToken" in text:
        return (
            f"The Ray cluster at {address} does not accept this machine's authentication token: "
            "copy the cluster's token here (to ~/.ray/auth_token, RAY_AUTH_TOKEN_PATH or "
            "RAY_AUTH_TOKEN) and set RAY_AUTH_MODE=token, or start both sides with "
            "RAY_AUTH_MODE=disabled."
        )
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    reason = " ".join(str(root).split())[:300].rstrip(".")
    return (
        f"The Ray cluster at {address} cannot be joined from here ({reason}): run the command on a "
        "machine of the cluster, or hand it over with 'ray job submit'."
    )


@contextmanager
def _few_attempts() -> Iterator[None]:
    """Something listens at the address, so a refusal is final: not twenty attempts at it."""
    name = "RAY_gcs_server_port_wait_time_s"
    given = os.environ.get(name)
    os.environ.setdefault(name, "3")
    try:
        yield
    finally:
        if given is None:
            del os.environ[name]


@contextmanager
def _hushed_stderr() -> Iterator[None]:
    """Keeps from the terminal what Ray's C++ code prints on a failed connection.

    It writes to the file descriptor, and no level of Python's logging reaches it.
    """
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
