"""Runs the commands as a user does, in processes of their own, on a miniature data set."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image


def write_tree(root: Path, per_class: int = 8) -> Path:
    """Three domains of three coloured shapes each."""
    rng = np.random.default_rng(0)
    for d, domain in enumerate(("Art", "Clip-Art", "Photo")):
        for c, name in enumerate(("red", "green", "blue")):
            folder = root / domain / name
            folder.mkdir(parents=True)
            for i in range(per_class):
                pixels = rng.integers(0, 60, (36, 36, 3)).astype(np.uint8)
                pixels[6 + d : 30, 8:28, c] = 190 + rng.integers(0, 60)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


class Project:
    """Runs the commands in a folder of their own, with an empty home folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.data = write_tree(folder / "colours")
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(self.home)}

    def command(self, module: str, out: str, *arguments: str) -> list[str]:
        return [
            sys.executable, "-m", f"harness.{module}",
            "--dataset", "folder", "--data-root", str(self.data),
            "--cache-dir", str(self.folder / "cache"), "--out", str(self.folder / out),
            "--image-size", "32", "--batch-size", "8", *arguments,
        ]  # fmt: skip

    def run(self, module: str, out: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(module, out, *arguments),
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            timeout=600,
        )

    def start(self, module: str, out: str, *arguments: str) -> subprocess.Popen[str]:
        """Starts a command as the leader of a process group, as a shell does.

        It hears Ctrl-C even where the tests run in the background of a shell that ignores it.
        """
        return subprocess.Popen(
            self.command(module, out, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=self.environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def results(self, out: str) -> Path:
        return self.folder / out / "colours"

    def frame(self, out: str, kind: str) -> pd.DataFrame:
        return pd.read_parquet(self.results(out) / kind)
