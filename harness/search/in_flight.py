"""Trials that were handed out and have not ended: one small file each.

A killed driver leaves them behind; the next run of the same command hands them out first, and
their workers go on from the last checkpoint.
"""

from collections.abc import Iterable
from pathlib import Path

from harness.config import TrialConfig, from_json, to_json
from harness.leaderboard.store import replacing


class InFlight:
    """The files under ``<out>/<dataset>/in_flight``."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "in_flight"

    def add(self, config: TrialConfig) -> None:
        """Notes a trial before it is handed out."""
        with replacing(self._path(config)) as temporary:
            temporary.write_text(to_json(config))

    def remove(self, config: TrialConfig) -> None:
        """Forgets a trial after its file was written."""
        self._path(config).unlink(missing_ok=True)

    def read(self, study_ids: Iterable[str]) -> list[TrialConfig]:
        """What earlier runs of these studies left half done."""
        wanted = set(study_ids)
        return [
            from_json(TrialConfig, path.read_text())
            for path in sorted(self._folder.glob("*.json"))
            if path.name.partition(".")[0] in wanted
        ]

    def _path(self, config: TrialConfig) -> Path:
        return self._folder / f"{config.trial_id}.json"
