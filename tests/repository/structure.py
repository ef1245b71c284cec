"""Measure the house: sizes, session parameters, rooms, citations. `python -m tests.repository.structure` prints all."""

import ast
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOPS = ("engine", "myvlm_cli")
JOBS = (
    "myvlm_cli",
    "engine.session",
    "engine.benchmarks",
    "engine.diagnostics",
    "engine.cluster",
    "engine.captioning.caption",
    "engine.captioning.answer",
    "engine.captioning.locate",
    "engine.captioning.status",
    "engine.concepts.enrol",
    "engine.concepts.enrol_crops",
    "engine.concepts.enrol_tagged",
    "engine.concepts.import_published",
    "engine.concepts.merge",
    "engine.concepts.forget",
    "engine.concepts.decide",
    "engine.concepts.review",
    "engine.concepts.remove_photos",
    "engine.unnamed.find",
    "engine.unnamed.collect",
    "engine.unnamed.name",
    "engine.unnamed.undo",
    "engine.training.train",
    "engine.recognition.scan",
    "engine.recognition.calibrate",
    "engine.recognition.explain.explain",
)
"""Modules, or packages with all that is in them, whose functions may take a session; under their new and old names."""
WRITTEN = ("DIR/README.md",)
"""Documents that the program writes: they are not in the repository."""
_DOCUMENT = re.compile(r"(?<![\w/.*{])([\w./-]*\w\.md)\b(?:#([\w-]+))?")


@cache
def files() -> tuple[Path, ...]:
    """Every Python file of the two packages."""
    return tuple(sorted(p for top in TOPS for p in (ROOT / top).rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def line_count(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function and method, inner ones too."""
    for path in files():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def _label(path: Path, line: int, name: str) -> str:
    return f"{path.relative_to(ROOT).as_posix()}:{line} {name}"


def long_functions(limit: int) -> list[str]:
    """Functions of more lines than that, from `def` to their last line; decorators do not count."""
    found = []
    for path, node in functions():
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > limit:
            found.append((length, _label(path, node.lineno, node.name)))
    return [f"{label} ({length})" for length, label in sorted(found, reverse=True)]


def long_files(limit: int) -> list[str]:
    """Files of more lines than that."""
    found = [(line_count(p), p.relative_to(ROOT).as_posix()) for p in files()]
    return [f"{name} ({length})" for length, name in sorted(found, reverse=True) if length > limit]


def session_functions(jobs: tuple[str, ...] = JOBS) -> list[str]:
    """Functions outside the jobs that take a session: a parameter of that name, or one annotated as a `Session`."""
    known = " ".join(jobs).split()
    return [
        _label(path, node.lineno, node.name)
        for path, node in functions()
        if not any(f"{module_of(path)}.".startswith(f"{j}.") for j in known) and _takes_session(node)
    ]


def _takes_session(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    return any(
        a.arg == "session" or (a.annotation and re.search(r"\bSession\b", ast.unparse(a.annotation))) for a in arguments
    )


def rooms() -> dict[str, float]:
    """Each room's share of all lines, the largest first. A room is a folder directly below engine/, or myvlm_cli."""
    lines: Counter[str] = Counter()
    for path in files():
        top, *rest = path.relative_to(ROOT).parts
        lines[rest[0] if top == "engine" and len(rest) > 1 else top] += line_count(path)
    return {room: count / lines.total() for room, count in lines.most_common()}


def absent_documents() -> list[str]:
    """Docstrings and comments that cite a Markdown document, or a section of one, that is not in the repository."""
    return [
        _label(path, line, f"{name}#{section}" if section else name)
        for path in files()
        for line, text in _prose(path)
        for name, section in dict.fromkeys(_DOCUMENT.findall(text))
        if name not in WRITTEN and not _exists(name, section, path)
    ]


def _prose(path: Path) -> Iterator[tuple[int, str]]:
    """Docstrings, of modules, classes, functions and constants, and comments, with their lines."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    with path.open("rb") as stream:
        for token in tokenize.tokenize(stream.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def _exists(name: str, section: str, path: Path) -> bool:
    """Whether a document is there: from the root, from engine/ or from the citing file's folder; a bare name may also
    be that of a document in engine/docs. A section is the anchor of one of its headings.
    """
    places = (ROOT, ROOT / "engine", path.parent, ROOT / "engine" / "docs")
    documents = [place / name for place in places if (place / name).is_file()]
    return any(not section or section in _anchors(d) for d in documents)


@cache
def _anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def readme_bytes() -> int:
    return (ROOT / "README.md").stat().st_size


def figures() -> dict[str, float]:
    """All figures, by what they count."""
    return {
        "functions > 40 lines": len(long_functions(40)),
        "files > 300 lines": len(long_files(300)),
        "functions with a session below the jobs": len(session_functions()),
        "citations of absent documents": len(absent_documents()),
        "largest room's share": round(max(rooms().values()), 3),
        "README bytes": readme_bytes(),
    }


def main() -> None:
    """Print all figures with what they count."""
    for title, rows in (
        ("Functions > 40 lines", long_functions(40)),
        ("Files > 300 lines", long_files(300)),
        ("Functions with a session below the jobs", session_functions()),
        ("Citations of absent documents", absent_documents()),
        ("Rooms", [f"{room} {share:.1%}" for room, share in rooms().items()]),
        ("Figures", [f"{name}: {value:,}" for name, value in figures().items()]),
    ):
        print(title, *(f"  {row}" for row in rows), "", sep="\n")


if __name__ == "__main__":
    main()
