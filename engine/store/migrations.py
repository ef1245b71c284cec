"""The schema of the concept store as append-only migrations; a released one is never edited."""

from sqlite_utils import Database, Migrations

migrations = Migrations("myvlm")


@migrations()
def m001_concepts(db: Database) -> None:
    """Concepts with their references, heads and embeddings."""
    db.execute(
        """create table concepts (
            id text primary key, name text not null, key text not null unique, kind text not null,
            category text not null, identifier text not null, version integer not null, created text not null
        )"""
    )
    db.execute(
        """create table concept_references (
            concept_id text not null references concepts(id) on delete cascade, position integer not null,
            path blob not null, content_hash text not null, x0 real, y0 real, x1 real, y1 real,
            primary key (concept_id, content_hash)
        )"""
    )
    db.execute(
        """create table heads (
            concept_id text not null references concepts(id) on delete cascade, encoder text not null,
            kind text not null, threshold real not null, file text not null, facts text not null,
            primary key (concept_id, encoder)
        )"""
    )
    db.execute(
        """create table embeddings (
            concept_id text not null references concepts(id) on delete cascade, vlm text not null,
            revision text not null, width integer not null, steps integer not null, seed integer not null,
            task text not null, identifier text not null, loss real not null, file text not null,
            primary key (concept_id, vlm, task)
        )"""
    )


@migrations()
def m002_variations(db: Database) -> None:
    """Variations of training captions that a VLM wrote, by the photo's content; forgotten with the concept."""
    db.execute(
        """create table variations (
            concept_id text not null references concepts(id) on delete cascade, content_hash text not null,
            vlm text not null, revision text not null, caption text not null, texts text not null,
            primary key (concept_id, content_hash, vlm, revision, caption)
        )"""
    )


@migrations()
def m003_decisions(db: Database) -> None:
    """The user's decisions about concepts in photos, by the photo's content; forgotten with the concept."""
    db.execute(
        """create table decisions (
            concept_id text not null references concepts(id) on delete cascade, content_hash text not null,
            path blob not null, x0 real, y0 real, x1 real, y1 real, verdict text not null, decided text not null,
            primary key (concept_id, content_hash)
        )"""
    )


@migrations()
def m004_calibrations(db: Database) -> None:
    """Calibrations, one for each folder and recogniser. `gallery` is a digest of the heads that they are for; '' after
    a concept was forgotten, when only the requested rate of false names is kept.
    """
    db.execute(
        """create table calibrations (
            root blob not null, model text not null, gallery text not null, per_1000 real not null,
            photos integer not null, expected real not null, made text not null, thresholds text not null,
            file text not null, primary key (root, model)
        )"""
    )


@migrations()
def m005_embedding_photos(db: Database) -> None:
    """The reference photos that an embedding was trained on: their content hashes in order, '' of an imported one.
    Existing embeddings are taken to be trained on the present references of their concepts.
    """
    db.execute("alter table embeddings add column photos text not null default ''")
    db.execute(
        """update embeddings set photos = coalesce((select group_concat(content_hash, ' ') from (
            select content_hash from concept_references as r where r.concept_id = embeddings.concept_id
            order by content_hash)), '') where loss != 0.0"""
    )


@migrations()
def m006_recognition_states(db: Database) -> None:
    """What recognition depended on in past runs, by the digest in JSON sidecars."""
    db.execute("create table recognition_states (digest text primary key, state text not null)")


@migrations()
def m007_ignored(db: Database) -> None:
    """Groups of faces or animals that the user ignores: the mean of their features, and where they are."""
    db.execute(
        """create table ignored (
            id text primary key, kind text not null, model text not null, mean blob not null, sample blob not null,
            photos integer not null, ignored text not null
        )"""
    )
    db.execute(
        """create table ignored_places (
            ignored_id text not null references ignored(id) on delete cascade, content_hash text not null,
            x0 real not null, y0 real not null, x1 real not null, y1 real not null
        )"""
    )
    db.execute("create index ignored_places_by_id on ignored_places (ignored_id)")
