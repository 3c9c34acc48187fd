"""Results of schema 1: what an earlier version of this project has left is continued."""

from dataclasses import replace

from harness.config import StudyConfig
from harness.leaderboard.store import ResultsStore

CONTINUED = (
    "Results of an earlier version are continued; they do not say which source they were made with."
)


def continued(study: StudyConfig, store: ResultsStore) -> StudyConfig:
    """The study under the id that an earlier version gave it, if the folder has trials of it.

    That version did not digest the source of built-in methods, so the study is known by all of its
    other fields. Trials of the scenario ``open`` held their domains the other way round and are not
    continued.
    """
    if study.scenario == "open":
        return study
    paths = {path.name.rpartition(".")[0].split(".")[0]: path for path in store.trial_paths()}
    for study_id, path in sorted(paths.items()):
        if not study_id.startswith(f"{study.method}-"):
            continue
        stored = store.read_trial(path).config.study
        same_source = replace(stored.identity, method_digest=study.method_digest)
        if stored.legacy_id and same_source == study.identity:
            return replace(study, legacy_id=stored.legacy_id, method_digest=stored.method_digest)
    return study
