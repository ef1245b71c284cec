"""The schema of the journal as append-only migrations; a released one is never edited."""

import os
from pathlib import Path

from sqlite_utils import Database, Migrations

journal_migrations = Migrations("myvlm-journal")


@journal_migrations()
def j001_runs(db: Database) -> None:
    """Runs that wrote sidecars, and what each file held before. Hashes are of the bytes of the file; '' is no file."""
    db.execute(
        """create table runs (
            id text primary key, command text not null, version text not null, started text not null,
            finished text, undone text
        )"""
    )
    db.execute(
        """create table writes (
            number integer primary key, run text not null references runs(id) on delete cascade,
            path blob not null, photo blob not null, before blob, before_hash text not null, after_hash text not null,
            unique (run, path)
        )"""
    )
    db.execute("create index writes_by_path on writes (path)")


@journal_migrations()
def j002_folders(db: Database) -> None:
    """Folders with our sidecars, kept when runs are forgotten, so that a concept can be removed from these sidecars.

    lost: what the file held before was forgotten, because it named a forgotten concept.
    """
    db.execute("create table folders (path blob primary key)")
    db.execute("alter table writes add column lost integer not null default 0")
    paths = [Path(os.fsdecode(path)) for (path,) in db.execute("select distinct path from writes")]
    folders = sorted({os.fsencode(p.parent) for p in paths})
    db.conn.executemany("insert into folders values (?)", [(f,) for f in folders])
