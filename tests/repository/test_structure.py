"""The house stays as small and as flat as it is. `python -m tests.repository.structure` lists what is counted.

To see where the hops of a photo are: pytest -n0 -s tests/repository/test_structure.py -k photo
"""

from tests.repository.photo_trace import trace_photo
from tests.repository.structure import (
    absent_documents,
    long_files,
    long_functions,
    readme_bytes,
    rooms,
    session_functions,
)

LONG_FUNCTIONS = 6  # of more than 40 lines
LONG_FILES = 0  # of more than 300 lines
SESSION_FUNCTIONS = 0  # that take a session below the jobs
ABSENT_DOCUMENTS = 0
LARGEST_ROOM = 0.17
README_BYTES = 9_000
PHOTO_MODULES = 162
PHOTO_HOPS = 1_760  # with the rehearsal of the next run, and the dates and places that sidecars correct
COUNTED = {
    "engine.store.concepts:ConceptStore.all": 1,
    "engine.recognition.enrolled:gallery_digest": 2,  # one a group of heads
    "engine.captioning.requested_concepts:choose_requested": 1,
}
"""How often a photo's run may call a function, by the places where it may be: `module:qualified name`."""


def listed(rows) -> str:
    return "\n".join(["", *rows])


def test_functions_are_short():
    assert len(long_functions(40)) <= LONG_FUNCTIONS, listed(long_functions(40))


def test_files_are_short():
    assert len(long_files(300)) <= LONG_FILES, listed(long_files(300))


def test_only_jobs_take_a_session():
    assert len(session_functions()) <= SESSION_FUNCTIONS, listed(session_functions())


def test_cited_documents_exist():
    assert len(absent_documents()) <= ABSENT_DOCUMENTS, listed(absent_documents())


def test_no_room_is_too_large():
    assert max(rooms().values()) <= LARGEST_ROOM, rooms()


def test_the_readme_is_short():
    assert readme_bytes() <= README_BYTES


def test_a_photo_passes_through_few_modules(myvlm, session, tmp_path):
    session.store.close()
    trace = trace_photo(myvlm, tmp_path)
    print(trace)
    assert len(trace.modules) <= PHOTO_MODULES, listed(sorted(trace.modules))
    assert trace.hops.total() <= PHOTO_HOPS, trace
    for places, most in COUNTED.items():
        calls = trace.calls_of(*places.split())
        print(calls, places)
        assert calls <= most, f"{calls} calls of {places}"
