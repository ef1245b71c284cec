"""The JSON sidecar: documented, versioned, and read with suspicion."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine.sidecars
from engine.core.boxes import Box
from engine.core.errors import SidecarError
from engine.core.notes import Note
from engine.core.types import Kind, Match, PhotoFacts
from engine.sidecars.json_sidecar import SCHEMA, PhotoRecord, parse_record, read_record, render_record

PATH = Path(engine.sidecars.__file__).parent / "schema" / f"photo-{SCHEMA}.schema.json"
DESCRIPTION = json.loads(PATH.read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(DESCRIPTION)
FACTS = PhotoFacts("ab" * 32, 400, 300, "JPEG", 6, "2026-06-12T10:15:00+02:00", (54.3233, 10.1394))
REX = Match("0123456789ab", "Rex", Kind.PET, 3, 0.93, 0.85, Box(10, 20, 110, 220), "detector")
ACCOUNT = PhotoRecord(
    FACTS, "Rex is on the beach.", (REX,), "embedded:vlm", "1", "k:1", "r", "s", (Note.parse("a note"),), "a.jpg"
)

TEXT = st.text(st.characters(), max_size=30)
SCORES = st.floats(-1, 1).map(lambda x: round(x, 4))
PIXELS = st.integers(-10, 40_000).map(float)
MATCHES = st.builds(
    Match,
    st.text("0123456789abcdef", min_size=12, max_size=12),
    st.text(min_size=1, max_size=20),
    st.sampled_from(Kind),
    st.integers(1, 1000),
    SCORES,
    SCORES,
    st.builds(Box, PIXELS, PIXELS, PIXELS, PIXELS),
    st.sampled_from(["face", "detector", "grid", "photo"]),
)
PLACES = st.none() | st.tuples(st.floats(-90, 90), st.floats(-180, 180))
SIDES = st.integers(1, 60_000)
ALL_FACTS = st.builds(
    PhotoFacts, TEXT, SIDES, SIDES, st.sampled_from(["JPEG", "HEIF"]), st.integers(1, 8), st.none() | TEXT, PLACES
)
ACCOUNTS = st.builds(
    PhotoRecord,
    ALL_FACTS,
    TEXT,
    st.lists(MATCHES, max_size=3).map(tuple),
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    st.lists(TEXT.map(Note.parse), max_size=3).map(tuple),
    st.none() | TEXT,
)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(DESCRIPTION)
    assert DESCRIPTION["properties"]["schema"]["const"] == SCHEMA
    with PATH.open() as f:
        assert max(map(len, f)) < 230


@given(ACCOUNTS)
def test_what_is_rendered_is_valid_and_reads_back(account):
    data = render_record(account)
    VALIDATOR.validate(json.loads(data))
    assert parse_record(data) == account
    assert render_record(account) == data


def undocumented(value, schema, where=""):
    schema = DESCRIPTION["$defs"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    if isinstance(value, dict):
        for key, inner in value.items():
            known = schema.get("properties", {}).get(key)
            if known is None:
                yield f"{where}.{key}"
            else:
                yield from undocumented(inner, known, f"{where}.{key}")
        yield from (f"{where}.{key} is not required" for key in set(value) - set(schema.get("required", ())))
    if isinstance(value, list):
        for inner in value:
            yield from undocumented(inner, schema["items"], f"{where}[]")


def test_every_key_is_documented():
    assert list(undocumented(json.loads(render_record(ACCOUNT)), DESCRIPTION)) == []
    assert "description" in DESCRIPTION
    assert all("description" in p for k, p in DESCRIPTION["properties"].items() if "$ref" not in p)


def damaged(path, value):
    document = json.loads(render_record(ACCOUNT))
    inner = document
    *way, last = path
    for key in way:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return document


KEYS = [
    *((k,) for k in ("caption", "key", "recognition", "settings", "concepts", "photo", "vlm", "notes", "same_as")),
    *(("concepts", 0, k) for k in ("name", "id", "version", "kind", "score", "threshold", "box", "region")),
    *(("photo", k) for k in ("content_hash", "width", "height", "format", "orientation", "taken", "place")),
    ("photo", "place", "latitude"),
    ("vlm", "id"),
    ("vlm", "revision"),
]


@pytest.mark.parametrize("path", KEYS, ids=str)
@pytest.mark.parametrize("value", [..., -1, 1e6, True, [1], {"a": 1}, [[]], {}, "x", 5, None], ids=str)
def test_the_reader_takes_nothing_that_the_schema_refuses(path, value):
    document = damaged(path, value)
    found = parse_record(json.dumps(document).encode())
    if not VALIDATOR.is_valid(document):
        assert found is None
    elif found is not None:
        assert VALIDATOR.is_valid(json.loads(render_record(found)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"schema": 2}',
        b'{"schema": 1, "caption": "x"}',
        b"[" * 100_000,
        render_record(ACCOUNT)[:-20],
        render_record(ACCOUNT).replace(b'"schema": 2', b'"schema": "3"'),
        b"\0" * 512,
        render_record(ACCOUNT).replace(b"0.93", b"NaN"),
        render_record(ACCOUNT).replace(b"0.93", b"1e999"),
        render_record(ACCOUNT).replace(b'"width": 400', b'"width": ' + b"9" * 5000),
    ],
    ids=range(13),
)
def test_damaged_files_are_none(data):
    assert parse_record(data) is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (render_record(ACCOUNT).replace(b'"schema": 2', b'"schema": 3'), "newer version"),
        (b'{"schema": 3}', "newer version"),
        (b'{"schema": 2.5, "caption": []}', "newer version"),
        (b'{"schema": ' + b"9" * 400 + b"}", "newer version"),
        (b" " * (16 * 2**20 + 1), "larger than 16 MiB"),
    ],
    ids=range(5),
)
def test_what_a_newer_version_wrote_is_left_alone(tmp_path, data, why):
    with pytest.raises(SidecarError, match=why):
        parse_record(data)
    path = tmp_path / "a.jpg.myvlm.json"
    path.write_bytes(data)
    with pytest.raises(SidecarError, match=f"^{path}: .*{why}"):
        read_record(path)


def test_unknown_keys_are_ignored():
    document = {**json.loads(render_record(ACCOUNT)), "later": 1}
    VALIDATOR.validate(document)
    assert parse_record(json.dumps(document).encode()) == ACCOUNT


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | TEXT, lambda v: st.dictionaries(TEXT, v))
    .map(str)
    .map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_are_read_without_a_crash(data):
    parse_record(data)


def test_names_that_are_not_utf8_survive():
    account = replace(ACCOUNT, same_as="caf\udce9.jpg")
    data = render_record(account)
    assert b"caf\\udce9.jpg" in data
    assert parse_record(data) == account
