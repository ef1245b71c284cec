"""Compare outputs with the files in tests/golden; see tests/cli/test_golden.py for how to update them.

What differs between machines and runs is replaced first: folders, times, seconds, ids of runs, digests. Numbers that
follow from floating-point sums are written `~3.24` and boxes `~281`; both are compared with a tolerance.
"""

import os
import re
from collections.abc import Mapping
from difflib import unified_diff
from itertools import zip_longest
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"
UPDATE = "MYVLM_GOLDEN_UPDATE"
RAW = "MYVLM_GOLDEN_RAW"
ABSOLUTE, RELATIVE = 0.06, 0.02
"""Tolerance of `~3.24`."""
PIXELS = 2
"""Tolerance of `~281`: pixels of a box, percents."""

_ALWAYS = (
    (r'("seconds": )[\d.e-]+', r"\1<seconds>"),
    (r"\d{8}-\d{6}-[0-9a-f]{4,}", "<run>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?)?", "<time>"),
    (r'("version": )"\d+\.\d+\.\d+\w*"', r'\1"<version>"'),
    (r"\bmyvlm \d+\.\d+\.\d+\w*", "myvlm <version>"),
)
"""What differs between two runs on one machine."""
_MACHINE = (
    (r"\b[0-9a-f]{64}\b", "<hash>"),
    (r'("(?:key|recognition)": ")[0-9a-f]{24}"', r'\1<digest>"'),
)
"""What differs between two machines: hashes of JPEG files and of features."""
_FLOAT = re.compile(r"(?<![\w.@~/:+-])[+-]?\d+\.\d+(e-?\d+)?(?![\w./])")
_BOX = re.compile(r'"box": \[[\d\s,]+\]|(?<=[\t ])\d+([ ,])\d+\1\d+\1\d+(?=[\t ])')
_PERCENT = re.compile(r"(?<![\d.~])(\d+)(?= %)")
_NEAR = re.compile(r"~(-?\d+(?:\.\d+)?)")


def normalise(text: str, folders: Mapping[Path, str], *, raw: bool = False) -> str:
    """The text without what differs between machines and runs; `raw` keeps what differs between machines only."""
    for folder in sorted(folders, key=lambda f: -len(str(f))):
        text = text.replace(str(folder), folders[folder])
    for pattern, replacement in _ALWAYS if raw else (*_ALWAYS, *_MACHINE):
        text = re.sub(pattern, replacement, text)
    if raw:
        return text
    text = _BOX.sub(lambda m: re.sub(r"(\d+)", r"~\1", m[0]), text)
    text = _FLOAT.sub(lambda m: f"~{float(m[0]) + 0.0:.2f}".replace("~-0.00", "~0.00"), text)
    return _PERCENT.sub(r"~\1", text)


def is_same(text: str, golden: str) -> bool:
    """Whether two normalised texts are equal but for tolerable differences between their `~` numbers."""
    if _NEAR.sub("~", text) != _NEAR.sub("~", golden):
        return False
    return all(_is_near(a, b) for a, b in zip(_NEAR.findall(text), _NEAR.findall(golden), strict=True))


def _is_near(a: str, b: str) -> bool:
    if "." not in a + b:
        return abs(int(a) - int(b)) <= PIXELS
    return abs(float(a) - float(b)) <= ABSOLUTE + RELATIVE * abs(float(b))


def difference(text: str, golden: str, name: str) -> str:
    """The lines in which a text differs from the golden one, as a unified diff."""
    lines = _lines(golden)
    return "\n".join(unified_diff(lines, _borrow(_lines(text), lines), f"golden/{name}", "now", lineterm="", n=2))


def _lines(text: str) -> list[str]:
    """The text's lines, with a line for each field of JSON that is on one line."""
    return text.replace(', "', ',\n  "').splitlines()


def _borrow(text: list[str], golden: list[str]) -> list[str]:
    """The text's lines; where a line differs tolerably from the golden one in its place, the golden one."""
    pairs = zip_longest(text, golden)
    return [b if b is not None and is_same(a, b) else a for a, b in pairs if a is not None]


def check(folder: str, texts: Mapping[str, str]) -> None:
    """Compare texts, by name, with the files of a folder below tests/golden; or write these files, when told so.

    Raises:
        AssertionError: a text differs, is new, or is no longer made; the message is a diff.
    """
    own = GOLDEN / folder
    known = {p.relative_to(own).as_posix() for p in own.rglob("*") if p.is_file()} if own.is_dir() else set()
    if os.environ.get(UPDATE):
        _update(own, texts, known)
        return
    wrong = [f"{folder}/{n}: there is no golden file" for n in sorted(set(texts) - known)]
    wrong += [f"{folder}/{n}: this output is not made any more" for n in sorted(known - set(texts))]
    for name in sorted(known & set(texts)):
        golden = (own / name).read_text("utf-8")
        if not is_same(texts[name], golden):
            wrong.append(difference(texts[name], golden, f"{folder}/{name}"))
    assert not wrong, "\n".join([*wrong, f"If this is meant, run the test with {UPDATE}=1 and commit the files."])


def _update(own: Path, texts: Mapping[str, str], known: set[str]) -> None:
    for name in known - set(texts):
        (own / name).unlink()
    for name, text in texts.items():
        path = own / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name not in known or not is_same(text, path.read_text("utf-8")):
            path.write_text(text, "utf-8")


def write_raw(folder: str, texts: Mapping[str, str]) -> None:
    """Write texts with the digests of this machine below the folder that the variable names, if it is set."""
    if target := os.environ.get(RAW):
        for name, text in texts.items():
            path = Path(target) / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
