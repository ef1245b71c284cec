import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import NameRefusedError
from engine.core.text import name_key
from engine.core.types import Kind
from engine.store.concepts import ConceptStore
from engine.store.names import check_name

ODD_NAMES = [
    "Rex",
    'O\'Brien "the cat"',
    "../../etc/passwd",
    "a/b\\c",
    "Ünïcödé 猫 🐕",
    "👩\u200d👧",
    "'; drop table concepts; --",
    "<rdf:li>&amp;]]>",
    "%s {0} $HOME `id`",
    "x" * 200,
    "Straße",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_stored_faithfully(home, name):
    store = ConceptStore(home)
    store.put(name, Kind.THING, "mug", ("sks",), ())
    store.close()
    again = ConceptStore(home)
    assert again.get(name).name == name
    assert not any(name in str(p) for p in home.rglob("*"))


@pytest.mark.parametrize(
    "name",
    ["", "   ", "x" * 300, "-rex", "--all", " rex", "rex\n", "a\0b", "a,b", "a\u202eb", "\u200bx", "a\x1bb", "\ud800"],
)
def test_names_that_cannot_be_kept_are_refused_with_a_hint(name):
    with pytest.raises(NameRefusedError) as err:
        check_name(name)
    assert err.value.hint


def test_case_and_normal_form_do_not_make_another_name(home):
    store = ConceptStore(home)
    store.put("Zoë", Kind.PERSON, "woman", ("Anna",), ())
    assert store.get(unicodedata.normalize("NFD", "ZOË")).name == "Zoë"


@given(st.text(max_size=250))
def test_any_text_is_kept_or_refused(text):
    try:
        assert check_name(text) == text
    except NameRefusedError:
        return
    assert name_key(text) == name_key(unicodedata.normalize("NFD", text))
