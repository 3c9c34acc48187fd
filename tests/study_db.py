"""Reads a ``study.db`` by its path: in a URL some characters of a folder's name mean more."""

import sqlite3

import optuna


def study_storage(path):
    """Optuna's storage in the file of that path."""

    def connect():
        return sqlite3.connect(path, check_same_thread=False)

    return optuna.storages.RDBStorage("sqlite://", engine_kwargs={"creator": connect})
