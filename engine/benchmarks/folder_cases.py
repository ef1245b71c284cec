"""Make cases of a user's own folder, in the layout of the paper's data set.

    ROOT/<concept>/*.jpg                      at least five photos a concept
    ROOT/<concept>/captions.json              or one ROOT/captions.json for all; both are optional
    ROOT/concepts.json                        optional: {"<concept>": {"kind", "category", "keywords"}}

A captions file maps a photo's file name to a caption or a list of captions. The suffix may be left out; at the root,
keys may also be `<concept>/<file>`, or a concept's name with such a map as its value. Captions mention the concept as
`<concept>`, `sks` or `S*`, or, without any of these, by its folder's name (with spaces or underscores). Files such as
`additional_captions.json` in the same forms add captions. A photo's captions are training captions if it is drawn for
training, and ground truth otherwise. Photos in subfolders are not taken. Without concepts.json, the category is the
last word of the folder's name, and the recogniser decides whether the concept is a person.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.benchmarks.cases import CONCEPT, TRAINING_PHOTOS, Case, Item, Truth
from engine.core.class_words import PEOPLE, kind_of_word
from engine.core.errors import PhotoError, UsageError
from engine.core.files import LARGEST_DOCUMENT, read_bytes, read_text, sha256_of
from engine.core.types import Kind
from engine.photos.decode import load_photo
from engine.photos.discovery import iter_photos
from engine.photos.photo_file import LARGEST_FILE

_FORM = 'Form: {"photo.jpg": "sks on a sofa."} in ROOT/<concept>/captions.json.'
_FACTS = 'Form: {"mug": {"kind": "thing", "category": "mug", "keywords": ["mug", "cup", "object"]}}; all are optional.'
_WORDS = (CONCEPT, "{concept}", "{identifier}", "sks", "<S*>", "S*")


def folder_cases(root: Path, seed: int, concepts: int | None, photos: int | None) -> tuple[list[Case], list[str]]:
    """Split each concept's photos by a seed into training and validation; also return what was left out, and why.

    concepts, photos: the most concepts, and the most validation photos for each; None for all.

    Raises:
        UsageError: the folder has no concept with enough photos, or a file that cannot be understood.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder", hint="It holds one folder of photos a concept.")
    facts = read_facts(root / "concepts.json")
    shared = _read_captions(root)
    cases, left_out = [], []
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    for number, folder in enumerate(folders[:concepts]):
        available, unreadable = _readable(_distinct(sorted(p for p in iter_photos([folder]) if p.parent == folder)))
        left_out += [f"{folder.name}/{p.name}: {why}" for p, why in unreadable]
        if len(available) <= TRAINING_PHOTOS:
            left_out.append(f"{folder.name}: {len(available)} photos, at least {TRAINING_PHOTOS + 1} are needed")
            continue
        texts = _captions_of(folder, available, shared)
        cases.append(_case(folder.name, available, texts, facts.get(folder.name, {}), (seed, number), photos))
    if not cases:
        why = "; ".join(left_out) or "it holds no folders"
        raise UsageError(f"{root} has no concept to evaluate: {why}", hint="Layout: ROOT/<concept>/*.jpg.")
    return cases, left_out


def _distinct(photos: list[Path]) -> list[Path]:
    """Leave out copies: one could be a training photo, and another a validation photo."""
    first: dict[str, Path] = {}
    for path in photos:
        first.setdefault(sha256_of(read_bytes(path, LARGEST_FILE)), path)
    return list(first.values())


def _readable(photos: list[Path]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Separate the photos that can be decoded from the others, which come with the reason."""
    readable, unreadable = [], []
    for path in photos:
        try:
            load_photo(path)
            readable.append(path)
        except PhotoError as err:
            unreadable.append((path, str(err).removeprefix(f"{path}: ")))
    return readable, unreadable


def _case(
    name: str,
    available: list[Path],
    texts: Mapping[Path, tuple[str, ...]],
    facts: Mapping[str, Any],
    seed: tuple[int, int],
    photos: int | None,
) -> Case:
    order = [available[i] for i in np.random.default_rng(seed).permutation(len(available))]
    training, rest = sorted(order[:TRAINING_PHOTOS]), sorted(order[TRAINING_PHOTOS:][:photos])
    category = facts.get("category") or last_word(name)
    kind = Kind(facts["kind"]) if "kind" in facts else None
    keywords = tuple(facts.get("keywords") or _keywords(category, kind))
    return Case(
        name=name,
        kind=kind,
        category=category,
        keywords=keywords,
        training=tuple(training),
        captions={p.name: named for p in training if (named := _named(texts.get(p, ())))},
        validation=tuple(Item(p, Truth(f"{name}/{p.name}", "all", texts.get(p, ()))) for p in rest),
    )


def without_number(name: str) -> str:
    """Return a folder's name in lower case without a number at its end."""
    return re.sub(r"[\s_-]*\d+$", "", name).lower()


def last_word(name: str) -> str:
    """Return the last word of a folder's name without its number: the class word of what it shows."""
    return re.split(r"[\s_-]+", without_number(name))[-1] or name.lower()


def _keywords(category: str, kind: Kind | None) -> tuple[str, ...]:
    kind = kind or kind_of_word(category)
    if kind is Kind.PERSON:
        first = [category] if category in PEOPLE else []
        return tuple(dict.fromkeys([*first, "man", "woman", "person"]))[:3]
    return (category, "animal" if kind is Kind.PET else "toy", "object")


def with_kind(case: Case, kind: Kind | None) -> Case:
    """Return the case with another kind, and with the default keywords of that kind unless others were given."""
    default = case.keywords == _keywords(case.category, case.kind)
    return replace(case, kind=kind, keywords=_keywords(case.category, kind) if default else case.keywords)


def _named(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(t for t in texts if CONCEPT in t)


def read_facts(path: Path) -> dict[str, dict[str, Any]]:
    """Read and check the kind, category and keywords of each concept."""
    concepts = _read(path, _FACTS)
    for name, facts in concepts.items():
        if not isinstance(facts, dict):
            raise UsageError(f"{path}: {name!r} is not a JSON object", hint=_FACTS)
        if "kind" in facts and facts["kind"] not in list(map(str, Kind)):
            raise UsageError(f"{path}: {name!r} has no kind {facts['kind']!r}", hint=f"Kinds: {', '.join(Kind)}.")
        category, keywords = facts.get("category", "thing"), facts.get("keywords", ["thing"])
        if not isinstance(category, str) or not category.strip():
            raise UsageError(f"{path}: the category of {name!r} is not a word", hint=_FACTS)
        if not isinstance(keywords, list) or not keywords or not all(isinstance(w, str) and w for w in keywords):
            raise UsageError(f"{path}: the keywords of {name!r} are not a list of words", hint=_FACTS)
    return concepts


def _read(path: Path, form: str = _FORM) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        document = json.loads(read_text(path, LARGEST_DOCUMENT))
    except (OSError, ValueError) as err:
        raise UsageError(f"{path} cannot be read as JSON: {err}", hint=form) from err
    if not isinstance(document, dict):
        raise UsageError(f"{path} is not a JSON object", hint=form)
    return document


def _read_captions(folder: Path) -> dict[str, Any]:
    """Merge the captions files of a folder, `captions.json` first; captions of one photo are joined."""
    files = sorted(folder.glob("*captions*.json"), key=lambda p: (p.name != "captions.json", p.name))
    merged: dict[str, Any] = {}
    for file in files:
        for key, value in _read(file).items():
            if key in merged and isinstance(value, dict) != isinstance(merged[key], dict):
                raise UsageError(
                    f"{file}: {key!r} is captions of a concept in one place and a caption elsewhere", hint=_FORM
                )
            if isinstance(value, dict):
                merged[key] = {**merged.get(key, {}), **value}
            else:
                merged[key] = [*merged.get(key, []), *_texts(file, key, value)]
    return merged


def _texts(path: Path, key: str, value: object) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
        raise UsageError(f"{path}: the captions of {key!r} are not text", hint=_FORM)
    return [t for t in texts if t.strip()]


def _captions_of(folder: Path, photos: list[Path], shared: dict[str, Any]) -> dict[Path, tuple[str, ...]]:
    of_concept = shared.get(folder.name)
    tables = [_read_captions(folder), of_concept if isinstance(of_concept, dict) else {}]
    tables.append({k.removeprefix(f"{folder.name}/"): v for k, v in shared.items() if k.startswith(f"{folder.name}/")})
    captions = {}
    for path in photos:
        texts = [t for table in tables for k in (path.name, path.stem) for t in _texts(folder, k, table.get(k, []))]
        captions[path] = tuple(dict.fromkeys(with_concept(t, folder.name) for t in texts))
    return captions


def with_concept(text: str, name: str) -> str:
    """Put `<concept>` in place of the concept's placeholder, or, without one, of its folder's name."""
    for spellings in (_WORDS, (name, name.replace("_", " "))):
        pattern = "|".join(re.escape(s) for s in sorted(spellings, key=len, reverse=True))
        replaced, count = re.subn(rf"(?<!\w)(?:{pattern})(?!\w)", CONCEPT, text, flags=re.IGNORECASE)
        if count:
            return replaced
    return text
