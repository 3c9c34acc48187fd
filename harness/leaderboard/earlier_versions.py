"""Results of schema 1: what an earlier version of this project has left is continued."""

from dataclasses import replace

from harness.config import StudyConfig, study_id_of
from harness.leaderboard.store import ResultsStore

CONTINUED = (
    "Results of an earlier version are continued; they do not say which source they were made with."
)


def continued(study: StudyConfig, store: ResultsStore, plugin_digest: str = "") -> StudyConfig:
    """The study under the id that an earlier version gave it, if the folder has trials of it.

    That version digested the file of a plug-in, but not the source of built-in methods. A study is
    known by the file, or by none, and all of its other fields. Trials of the scenario ``open`` held
    their domains the other way round and are not continued.

    Args:
        study: as it is planned now.
        store: the results folder.
        plugin_digest: of the file of ``--loss-module``, or "".
    """
    if study.scenario == "open":
        return study
    paths = {study_id_of(path.stem): path for path in store.trial_paths()}
    for study_id, path in sorted(paths.items()):
        if not study_id.startswith(f"{study.method}-"):
            continue
        stored = store.read_trial(path).config.study
        of_same_file = stored.method_digest in ("", plugin_digest)
        same_source = replace(stored.identity, method_digest=study.method_digest)
        if stored.legacy_id and of_same_file and same_source == study.identity:
            return replace(study, legacy_id=stored.legacy_id, method_digest=stored.method_digest)
    return study
