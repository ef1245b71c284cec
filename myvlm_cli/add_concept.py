"""`myvlm add-concept`."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.types import Kind
from myvlm_cli import options as o
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
    recogniser: o.Recogniser = None,
    vlm: o.Vlm = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    seed: o.Seed = 0,
    json: o.Json = False,
) -> None:
    """Enrol a person, a pet or a thing from a few photos, so that it is recognised.

    Example: myvlm add-concept rex ./rex_photos --category dog
    """
    from engine.pipeline.enrol import enrol

    session = o.open_session(vlm, recogniser, device, dtype)
    o.warn_of_slow_faces(session, people=kind in (None, Kind.PERSON))
    done = enrol(session, name, photos, kind=kind, category=category, negatives=negatives or [], seed=seed)
    if json:
        out.json_document(_document(done))
    else:
        _tell(done)
    for text in done.warnings:
        out.warn(text)


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
        "photos": [
            {"file": path_text(f.path), "used": f.used, "found": f.found, "advice": f.advice} for f in done.findings
        ],
        "warnings": list(done.warnings),
    }


def _tell(done: Any) -> None:
    for f in done.findings:
        mark = "+" if f.used else "-"
        out.text(f"{mark} {path_text(f.path)}: {f.found}" + (f" ({f.advice})" if f.advice else ""))
    c = done.concept
    kind = f"{c.kind}{' (guessed)' if done.kind_guessed else ''}"
    category = f"{c.category}{' (guessed; --category changes it)' if done.category_guessed else ''}"
    out.text(f"{c.name}: {kind}, category {category}, {len(c.references)} references")
    out.say(f"Next: myvlm train {shlex.quote(c.name)}")
