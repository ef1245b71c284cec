"""Shell completion of names. Completing never creates the data folder or the concept store."""


def complete_concept(incomplete: str) -> list[str]:
    """List the concept names that start with the typed text, whatever its case."""
    import sqlite3

    from engine.core.paths import home

    path = home() / "store.db"
    if not path.is_file():
        return []
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.2) as db:
            names = [row[0] for row in db.execute("select name from concepts order by key")]
    except sqlite3.Error:
        return []
    # Shells and Typer drop completions that do not start with the typed letters, so these letters are kept as typed.
    return [incomplete + n[len(incomplete) :] for n in names if n.casefold().startswith(incomplete.casefold())]


def complete_concepts(incomplete: str) -> list[str]:
    """Complete the last name in a comma-separated list of concept names; names already in the list are left out."""
    before, comma, last = incomplete.rpartition(",")
    listed = {n.strip().casefold() for n in before.split(",")}
    return [before + comma + n for n in complete_concept(last) if n.casefold() not in listed]


def complete_vlm(incomplete: str) -> list[str]:
    """List the known VLM names that start with the typed text."""
    from engine.vlms.config import list_configs

    return [c.name for c in list_configs() if c.name.startswith(incomplete)]


def complete_recogniser(incomplete: str) -> list[str]:
    """List the recognisers that start with the typed text."""
    from engine.vision.config import list_recognisers

    return [c.name for c in list_recognisers() if c.name.startswith(incomplete)]


def complete_part(incomplete: str) -> list[str]:
    """List the models that can be fetched and whose names start with the typed text."""
    from engine.setup.parts import list_parts

    return [p.name for p in list_parts() if p.name.startswith(incomplete)]


def complete_key(incomplete: str) -> list[str]:
    """List the keys of `config.toml` that start with the typed text."""
    from engine.core.config_file import KEYS

    return [key for key in KEYS if key.startswith(incomplete)]


def complete_run(incomplete: str) -> list[str]:
    """List the ids of the runs in the journal that start with the typed text."""
    from engine.core.paths import home
    from engine.sidecars.journal import Journal

    return [r.id for r in Journal(home()).runs() if r.id.startswith(incomplete)]
