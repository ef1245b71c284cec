"""`myvlm search --reindex`: read the sidecars of folders into the search index."""

from typing import TYPE_CHECKING

from myvlm_cli import options as o
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.given import Photos, warn_of_missing
from myvlm_cli.output import out, path_text
from myvlm_cli.sidecar_choice import SidecarChoice
from myvlm_cli.words import count

if TYPE_CHECKING:
    from engine.library.index import LibraryIndex
    from engine.library.update import Changes


def reindex(photos: Photos, sidecars: SidecarChoice, output: o.OutputChoice) -> int:
    """Index the sidecars of some photos, print what changed, and return the exit code."""
    from engine.core.paths import home
    from engine.library.index import LibraryIndex

    missing = warn_of_missing(photos.given)
    with LibraryIndex(home()) as index:
        changes = read_sidecars(index, photos, sidecars)
    for path, reason in changes.failed.items():
        out.warn(reason if reason.startswith(str(path.parent)) else f"{path_text(path)}: {reason}")
    figures = {"read": changes.read, "unchanged": changes.unchanged, "removed": changes.removed}
    figures |= {"without_sidecars": changes.without, "failed": len(changes.failed)}
    if not output.is_text:
        (out.json_document if output.json else out.json_line)(figures)
    indexed = count(changes.read + changes.unchanged, "photo")
    out.say(f"{indexed} indexed: {changes.read:,} read, {changes.unchanged:,} unchanged; {changes.removed:,} removed")
    if changes.without:
        out.say(f"{count(changes.without, 'photo')} without sidecars. To caption them: myvlm caption FOLDER")
    else:
        out.say("Next: myvlm search WORDS")
    return SOME_FAILED if missing or changes.failed else OK


def read_sidecars(index: "LibraryIndex", photos: Photos, sidecars: SidecarChoice) -> "Changes":
    """Bring the index up to date with the sidecars of some photos, and show the progress."""
    from engine.library.update import update_index
    from engine.sidecars.locate import Namer

    folders = [p for p in photos.given if p.is_dir()]
    there = Photos(tuple(p for p in photos.given if p not in photos.missing), photos.selection, tally=photos.tally)
    with out.progress("reading sidecars", None) as bar:
        photos.count_onto(bar)
        return update_index(index, there, Namer(sidecars.naming), folders=folders, step=bar.advance)
