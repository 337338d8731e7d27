"""Fixtures: a finished run that was not tracked, and copies of it to track."""

from __future__ import annotations

import os
import shutil

import pytest
from pictures import small_recipe, write_pictures

from foveate.engine.fit import fit

pytest.importorskip("mlflow")
sqlalchemy = pytest.importorskip("sqlalchemy")


@pytest.fixture(scope="module", autouse=True)
def quick_disk():
    """Nothing here loses power: thousands of small commits need not wait for the disk."""

    def relax(connection, _):
        connection.execute("PRAGMA synchronous=OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", relax)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", relax)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def done(root, tmp_path_factory):
    """A finished run that was not tracked."""
    folder = tmp_path_factory.mktemp("tracked") / "run"
    fit(small_recipe(root), out=folder, tracking="none")
    assert not (folder / "mlflow.json").exists()
    return folder


@pytest.fixture
def place(done, tmp_path):
    """(a copy of that run, the URI of an empty database)"""
    folder = shutil.copytree(done, tmp_path / "run")
    return folder, f"sqlite:///{tmp_path / 'mlflow.db'}"
