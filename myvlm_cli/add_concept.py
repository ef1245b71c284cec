"""`myvlm add-concept`."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.core.types import Kind
from myvlm_cli import options as o
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import out, path_text

FromRegions = Annotated[
    bool,
    typer.Option(
        "--from-regions",
        help="Search the photos for regions tagged NAME in digiKam, Lightroom, Picasa, …, and learn from these.",
    ),
]
Replace = Annotated[
    bool, typer.Option("--replace", help="Replace the reference photos that it has, instead of adding to them.")
]


def add_concept(
    name: Annotated[str, typer.Argument(help="What you call it.", show_default=False)],
    photos: Annotated[
        list[Path], typer.Argument(help="Photos of it, or a folder; three to five are good.", show_default=False)
    ],
    kind: Annotated[Kind | None, typer.Option(help="Guessed when not given.", show_default=False)] = None,
    category: Annotated[
        str | None, typer.Option(help="Class word: dog, mug, woman, … Guessed when not given.", show_default=False)
    ] = None,
    negatives: Annotated[
        list[Path] | None, typer.Option(help="A folder of other things it must not be taken for.", show_default=False)
    ] = None,
    from_regions: FromRegions = False,
    most: Annotated[int, typer.Option(help="References to take from regions.", min=1, max=200)] = 20,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --from-regions: say what would be learned; store nothing.")
    ] = False,
    preview: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="With --from-regions: a picture of the references.", show_default=False),
    ] = None,
    replace: Replace = False,
    recogniser: o.Recogniser = None,
    vlm: o.Vlm = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    seed: o.Seed = 0,
    json: o.Json = False,
) -> None:
    """Enrol a concept, or add photos to it.

    A person, a pet or a thing is recognised from then on. If the name is already enrolled, the photos are added.

    Example: myvlm add-concept rex ./rex_photos --category dog

    Example: myvlm add-concept rex ./new_photos

    Example: myvlm add-concept "Anna Berg" --from-regions ~/Pictures --dry-run
    """
    _check(name, preview, dry_run=dry_run, from_regions=from_regions)
    missing = [o.warn_of_missing(paths) for paths in (photos, negatives or ())]
    if _is_empty(photos, name, json=json):
        return
    session = o.open_session(vlm, recogniser, device, dtype)
    o.warn_of_slow_faces(session, people=kind in (None, Kind.PERSON))
    if from_regions:
        from engine.concepts.enrol_tagged import Wanted

        wanted = Wanted(name, kind, category, most, seed, replace)
        _from_regions(session, wanted, photos, negatives or [], preview, dry_run=dry_run, json=json)
    else:
        from engine.concepts.enrol import enrol

        done = enrol(
            session, name, photos, kind=kind, category=category, negatives=negatives or [], seed=seed, replace=replace
        )
        _show(session, done, json=json)
    raise typer.Exit(SOME_FAILED if any(missing) else OK)


def _is_empty(photos: list[Path], name: str, *, json: bool) -> bool:
    """Whether there is no photo at all, and then nothing is enrolled; says so."""
    from engine.photos.discovery import iter_photos

    if next(iter_photos(photos), None) is not None:
        return False
    out.say(f"{o.NO_PHOTOS} Nothing was enrolled.")
    if json:
        out.json_document({"name": name, "references": [], "photos": []})
    return True


def _check(name: str, preview: Path | None, *, dry_run: bool, from_regions: bool) -> None:
    from engine.core.errors import UsageError
    from engine.store.names import check_name

    check_name(name)
    if (preview is not None or dry_run) and not from_regions:
        raise UsageError(
            "--dry-run and --preview are for --from-regions", hint="Add --from-regions, or leave them out."
        )


def _from_regions(
    session: Any,
    wanted: Any,
    paths: list[Path],
    negatives: list[Path],
    preview: Path | None,
    *,
    dry_run: bool,
    json: bool,
) -> None:
    from engine.concepts.enrol_tagged import choose_references, enrol_tagged
    from engine.concepts.tagged_photos import search_regions
    from engine.store.names import check_name

    check_name(wanted.name)
    _check_preview(preview)
    with out.progress("searching", None, "files") as bar:
        search = search_regions(wanted.name, paths, bar.advance)
    for path, reason in search.unreadable:
        out.detail(f"{path_text(path)}: {reason}")
    chosen = choose_references(session, search, wanted, keep=not dry_run)
    if preview is not None:
        from engine.captioning.contact_sheet import draw_crops

        draw_crops(chosen.crops, [v.reference.path.name for v in chosen.views], preview)
        out.say(f"Preview: {path_text(preview)}")
    counts = _counts(search, chosen)
    done = None if dry_run else enrol_tagged(session, chosen, wanted, negatives=negatives)
    if not json:
        _tell_counts(counts)
    if done:
        _show(session, done, json=json, more={"dry_run": False, "search": counts})
    elif json:
        photos = [_finding(f) for f in chosen.findings]
        document = {"name": wanted.name, "kind": str(chosen.guess.kind), "photos": photos}
        out.json_document({**document, "dry_run": True, "search": counts})
    else:
        _tell_findings(chosen.findings)


def _check_preview(preview: Path | None) -> None:
    from engine.core.errors import UsageError

    if preview is not None and (preview.suffix.lower() != ".png" or preview.exists()):
        problem = "exists already" if preview.exists() else "does not end in .png"
        raise UsageError(f"--preview {path_text(preview)} {problem}", hint="Give the name of a new PNG file.")


def _counts(search: Any, chosen: Any) -> dict[str, Any]:
    used = sum(f.used and not f.known for f in chosen.findings)
    known = sum(f.known for f in chosen.findings)
    return {
        "photos": search.photos,
        "photos_with_regions": search.tagged_photos,
        "tagged": len(search.found),
        "used": used,
        "known": known,
        "not_used": len(chosen.findings) - used - known,
        "not_needed": chosen.left,
        "names": dict(search.names),
        "unreadable": [{"file": path_text(p), "reason": reason} for p, reason in search.unreadable],
    }


def _tell_counts(counts: dict[str, Any]) -> None:
    known = f"{counts['known']} used before, " if counts["known"] else ""
    became = f"{counts['used']} used, {known}{counts['not_used']} of no use, {counts['not_needed']} not needed"
    out.text(
        f"{counts['photos']} photos searched, {counts['photos_with_regions']} with named regions, {counts['tagged']}"
        f" with this name: {became}"
    )
    if counts["unreadable"]:
        out.say(f"{len(counts['unreadable'])} sidecars or photos could not be read (-v lists them)")
    names = ", ".join(f"{name} ({count})" for name, count in list(counts["names"].items())[:20])
    out.say(f"Names in these photos: {names}")


def _show(session: Any, done: Any, *, json: bool, more: dict[str, Any] | None = None) -> None:
    """Print what enrolling did, its warnings, and last the command to run next."""
    following = _next(session, done)
    if json:
        out.json_document(_document(done) | {"next": following[1]} | (more or {}))
    else:
        _tell(done)
    for text in done.warnings:
        out.warn(text)
    if not json:
        out.say(" ".join(w for w in following if w))


def _next(session: Any, done: Any) -> tuple[str, str, str]:
    """The command to run next, with the words before and after it."""
    from engine.concepts.drawn_photos import vlm_knows
    from engine.training.train import Need, training_need
    from engine.vlms.registry import find_weights

    train = f"myvlm train {shlex.quote(done.concept.name)}"
    ready = find_weights(session.vlm_config) is not None and vlm_knows(session, done.concept)
    need = training_need(session, done.concept) if ready else Need.NOTHING
    if need is Need.NEW_PHOTOS:
        return "Recognised with all its photos from now on. Run:", train, "to use the new photos in captions, too"
    if need is Need.UNTRAINED:
        return "Next:", train, ""
    return "Next:", "myvlm caption FOLDER", ""


def _finding(f: Any) -> dict[str, Any]:
    return {"file": path_text(f.path), "used": f.used, "known": f.known, "found": f.found, "advice": f.advice}


def _document(done: Any) -> dict[str, Any]:
    c, n = done.concept, done.negatives_from
    return {
        "name": c.name,
        "id": c.id,
        "version": c.version,
        "kind": str(c.kind),
        "kind_guessed": done.kind_guessed,
        "category": c.category,
        "category_guessed": done.category_guessed,
        "identifier": c.identifier,
        "references": [
            {"file": path_text(r.path), "box": list(r.box.rounded()) if r.box else None} for r in c.references
        ],
        "added": done.added,
        "kept": done.kept,
        "replaced": done.replaced,
        "negatives": done.negatives,
        "negatives_from": {k: getattr(n, k) for k in ("photos", "given", "concepts", "bank", "rejected")},
        "photos": [_finding(f) for f in done.findings],
        "unlike_the_others": [path_text(p) for p in done.odd],
        "same_as": [{"name": s.concept.name, "likeness": round(s.likeness, 4)} for s in done.same_as],
        "shared_photos": [
            {"file": path_text(s.path), "name": s.concept.name, "same_part": s.same_part} for s in done.shared
        ],
        "warnings": list(done.warnings),
    }


def _tell_findings(findings: Any) -> None:
    for f in findings:
        mark = "=" if f.known else "+" if f.used else "-"
        out.text(f"{mark} {path_text(f.path)}: {f.found}" + (f". {f.advice}" if f.advice else ""))


def _tell(done: Any) -> None:
    _tell_findings(done.findings)
    c, count = done.concept, len(done.concept.references)
    kind = f"{c.kind}{' (guessed)' if done.kind_guessed else ''}"
    category = f"{c.category}{' (guessed; --category changes it)' if done.category_guessed else ''}"
    out.text(f"{c.name}: {kind}, category {category}, {_photos(count)}{_change(done)}")
    for s in done.shared:
        if not s.same_part:
            out.say(f"{s.path.name} is a reference photo of {s.concept.name}, too, with another part of it")
    if done.negatives_from.total:
        out.say(_negatives(done.negatives_from))


def _photos(count: int) -> str:
    return "1 reference photo" if count == 1 else f"{count} reference photos"


def _change(done: Any) -> str:
    """What became of the photos that it had before."""
    if done.replaced:
        return f"; replaces {_photos(done.replaced)}"
    if done.added and done.kept:
        return f" ({done.added} added to {done.kept})"
    if done.added or not done.kept:
        return ""
    return "; no new photos" if done.negatives_from.given else "; nothing new was given"


def _negatives(n: Any) -> str:
    """How many views of other things a head was trained against, and where they are from."""
    parts = (
        (n.bank, "shipped with the recogniser"),
        (n.photos, "from the background of its photos"),
        (n.given, "from --negatives"),
        (n.concepts, "of other concepts"),
        (n.rejected, "that you rejected"),
    )
    return f"Told apart from {n.total} views of other things: " + ", ".join(f"{k} {text}" for k, text in parts if k)
