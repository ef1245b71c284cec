"""Notes: every code has a sentence, and stored sentences are read back as they were."""

import pytest

from engine.core.notes import _TEXTS, FILE_NOTES, KEPT_DESCRIPTION_NOTES, Note, NoteCode


@pytest.mark.parametrize("code", NoteCode)
def test_every_code_has_a_sentence_that_reads_back(code):
    note = Note(code, ("value",) * _TEXTS[code].count("{}"))
    read = Note.parse(str(note))
    assert str(read) == str(note)
    assert read == note if not note.values or code is NoteCode.TEXT else read.code is NoteCode.TEXT


def test_codes_that_are_looked_for_in_stored_notes_have_no_values():
    assert all("{}" not in _TEXTS[code] for code in FILE_NOTES | KEPT_DESCRIPTION_NOTES)


def test_sentences_of_earlier_versions_keep_their_codes():
    assert Note.parse("the file lacks its end marker; every pixel is there").code is NoteCode.NO_END_MARKER
    assert Note.parse("braces {} and {0} in a text") == Note(NoteCode.TEXT, ("braces {} and {0} in a text",))
    assert str(Note.parse("braces {} and {0} in a text")) == "braces {} and {0} in a text"
