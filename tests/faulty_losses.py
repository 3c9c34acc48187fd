"""A loss module whose trials fail, die or wait on demand, for the tests of faults.

``source(folder)`` is its text. Every step appends ``case tau epoch process-id`` to
``<folder>/steps``. A case fails in its second epoch, after one checkpoint; while the file
``<folder>/hold`` stands, every trial waits in the epoch whose number it holds.
"""

from collections import Counter
from pathlib import Path

PLAIN, RAISES_ONCE, ALWAYS_RAISES, NOT_A_NUMBER, KILLED_ONCE = range(5)

_SOURCE = '''
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from optuna.distributions import IntDistribution

from harness.methods import Method, register_method
from harness.methods.recipe import LossTerm
from harness.methods.ucdir import SCRATCH, InstanceParameters, momentum_frame
from losses import Loss, register_loss

FOLDER = Path("@FOLDER@")


def note(name, text):
    with (FOLDER / name).open("a") as file:
        file.write(text + "\\n")


def first_time(name):
    try:
        (FOLDER / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def wait_while_held(epoch):
    hold = FOLDER / "hold"
    if hold.exists() and int(hold.read_text()) == epoch:
        note("held", str(os.getpid()))
        ends = time.monotonic() + 300
        while hold.exists() and int(hold.read_text()) == epoch:
            if time.monotonic() > ends:
                raise TimeoutError("held for five minutes")
            time.sleep(0.05)


@register_loss("faulty")
class Faulty(Loss):
    """Distance of the mean embeddings, with faults."""

    def __init__(self, case, tau):
        super().__init__()
        self.case, self.tau = case, tau

    def forward(self, a, b, step):
        note("steps", f"{self.case} {self.tau!r} {step.epoch} {os.getpid()}")
        wait_while_held(step.epoch)
        loss = (a.z_BD.mean(0) - b.z_BD.mean(0)).square().sum()
        if step.epoch == 1 and not (FOLDER / "mended").exists():
            if self.case == 1 and first_time("raised"):
                raise RuntimeError("out of luck, this once")
            if self.case == 2:
                raise ValueError("prototypes have gone")  # the line that tests look for
            if self.case == 3:
                return loss * float("nan")
            if self.case == 4 and first_time("killed"):
                os.kill(os.getpid(), signal.SIGKILL)
        return loss


@dataclass(frozen=True, kw_only=True)
class Parameters(InstanceParameters):
    case: int = 0


def recipe(p, shape):
    term = LossTerm(
        loss="faulty", arguments={"case": p.case, "tau": p.tau}, parameters=("case", "tau")
    )
    return momentum_frame(p, (term,), None)


register_method(
    Method(
        name="faulty",
        summary="fails on demand",
        parameters=Parameters,
        recipe=recipe,
        presets={"paper": lambda dataset: {}, "scratch": lambda dataset: SCRATCH},
        space=lambda n: {"case": IntDistribution(0, 4)},
    )
)
'''


def source(folder: Path) -> str:
    return _SOURCE.lstrip().replace("@FOLDER@", str(folder))


def failing_line() -> int:
    """Line of the module that raises in every attempt."""
    lines = _SOURCE.lstrip().splitlines()
    return 1 + next(n for n, line in enumerate(lines) if "tests look for" in line)


def steps(folder: Path) -> Counter[tuple[int, float, int]]:
    """How often a step of (case, tau, epoch from 0) was begun."""
    lines = (folder / "steps").read_text().split("\n")[:-1]
    return Counter((int(c), float(t), int(e)) for c, t, e, _ in (line.split() for line in lines))
