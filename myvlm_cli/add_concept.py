"""`myvlm add-concept`."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.types import Kind
from myvlm_cli import options as o
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import out, path_text


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
    from_regions: Annotated[
        bool,
        typer.Option(
            "--from-regions",
            help="Search the photos for regions tagged NAME in digiKam, Lightroom, Picasa, …, and learn from these.",
        ),
    ] = False,
    most: Annotated[int, typer.Option(help="References to take from regions.", min=1, max=200)] = 20,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --from-regions: say what would be learned; store nothing.")
    ] = False,
    preview: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="With --from-regions: a picture of the references.", show_default=False),
    ] = None,
    recogniser: o.Recogniser = None,
    vlm: o.Vlm = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    seed: o.Seed = 0,
    json: o.Json = False,
) -> None:
    """Enrol a person, a pet or a thing from a few photos, so that it is recognised.

    Example: myvlm add-concept rex ./rex_photos --category dog

    Example: myvlm add-concept "Anna Berg" --from-regions ~/Pictures --dry-run
    """
    _check(name, preview, dry_run=dry_run, from_regions=from_regions)
    missing = [o.warn_of_missing(paths) for paths in (photos, negatives or ())]
    if _is_empty(photos, name, json=json):
        return
    session = o.open_session(vlm, recogniser, device, dtype)
    o.warn_of_slow_faces(session, people=kind in (None, Kind.PERSON))
    if from_regions:
        from engine.pipeline.enrol_regions import Wanted

        wanted = Wanted(name, kind, category, most, seed)
        _from_regions(session, wanted, photos, negatives or [], preview, dry_run=dry_run, json=json)
    else:
        from engine.pipeline.enrol import enrol

        done = enrol(session, name, photos, kind=kind, category=category, negatives=negatives or [], seed=seed)
        _print(done, json=json)
    raise typer.Exit(SOME_FAILED if any(missing) else OK)


def _print(done: Any, *, json: bool) -> None:
    out.json_document(_document(done)) if json else _tell(done)
    for text in done.warnings:
        out.warn(text)


def _is_empty(photos: list[Path], name: str, *, json: bool) -> bool:
    """Whether there is no photo at all, and then nothing is enrolled; says so."""
    from engine.photos.discovery import iter_photos

    if next(iter_photos(photos), None) is not None:
        return False
    out.say(f"{o.NO_PHOTOS} {name} is not enrolled.")
    if json:
        out.json_document({"name": name, "references": [], "photos": []})
    return True


def _check(name: str, preview: Path | None, *, dry_run: bool, from_regions: bool) -> None:
    from engine.errors import UsageError
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
    from engine.pipeline.enrol_regions import choose_references, enrol_regions
    from engine.pipeline.gather_regions import search_regions
    from engine.store.names import check_name

    check_name(wanted.name)
    _check_preview(preview)
    with out.progress("searching", None, "files") as bar:
        search = search_regions(wanted.name, paths, bar.advance)
    for path, reason in search.unreadable:
        out.detail(f"{path_text(path)}: {reason}")
    chosen = choose_references(session, search, wanted, keep=not dry_run)
    if preview is not None:
        from engine.pipeline.contact_sheet import draw_crops

        draw_crops(chosen.crops, [v.reference.path.name for v in chosen.views], preview)
        out.say(f"Preview: {path_text(preview)}")
    counts = _counts(search, chosen)
    done = None if dry_run else enrol_regions(session, chosen, wanted, negatives=negatives)
    if json:
        document = _document(done) if done else {"name": wanted.name, "kind": str(chosen.guess.kind)}
        photos = [_finding(f) for f in chosen.findings]
        out.json_document({**document, "photos": photos, "dry_run": dry_run, "search": counts})
    else:
        _tell_counts(counts)
        _tell(done) if done else _tell_findings(chosen.findings)
    for text in done.warnings if done else ():
        out.warn(text)


def _check_preview(preview: Path | None) -> None:
    from engine.errors import UsageError

    if preview is not None and (preview.suffix.lower() != ".png" or preview.exists()):
        problem = "exists already" if preview.exists() else "does not end in .png"
        raise UsageError(f"--preview {path_text(preview)} {problem}", hint="Give the name of a new PNG file.")


def _counts(search: Any, chosen: Any) -> dict[str, Any]:
    used = sum(f.used for f in chosen.findings)
    return {
        "photos": search.photos,
        "photos_with_regions": search.tagged_photos,
        "tagged": len(search.found),
        "used": used,
        "not_used": len(chosen.findings) - used,
        "not_needed": chosen.left,
        "names": dict(search.names),
        "unreadable": [{"file": path_text(p), "reason": reason} for p, reason in search.unreadable],
    }


def _tell_counts(counts: dict[str, Any]) -> None:
    out.text(
        f"{counts['photos']} photos searched, {counts['photos_with_regions']} with named regions, {counts['tagged']}"
        f" with this name: {counts['used']} used, {counts['not_used']} of no use, {counts['not_needed']} not needed"
    )
    if counts["unreadable"]:
        out.say(f"{len(counts['unreadable'])} sidecars or photos could not be read (-v lists them)")
    names = ", ".join(f"{name} ({count})" for name, count in list(counts["names"].items())[:20])
    out.say(f"Names in these photos: {names}")


def _finding(f: Any) -> dict[str, Any]:
    return {"file": path_text(f.path), "used": f.used, "found": f.found, "advice": f.advice}


def _document(done: Any) -> dict[str, Any]:
    c = done.concept
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
        "negatives": done.negatives,
        "photos": [_finding(f) for f in done.findings],
        "warnings": list(done.warnings),
    }


def _tell_findings(findings: Any) -> None:
    for f in findings:
        mark = "+" if f.used else "-"
        out.text(f"{mark} {path_text(f.path)}: {f.found}" + (f" ({f.advice})" if f.advice else ""))


def _tell(done: Any) -> None:
    _tell_findings(done.findings)
    c = done.concept
    kind = f"{c.kind}{' (guessed)' if done.kind_guessed else ''}"
    category = f"{c.category}{' (guessed; --category changes it)' if done.category_guessed else ''}"
    out.text(f"{c.name}: {kind}, category {category}, {len(c.references)} references")
    out.say(f"Next: myvlm train {shlex.quote(c.name)}")
