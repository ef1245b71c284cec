from tests.vlms.chat.matrix import CHECKS, DOCUMENT, END, START
from tests.vlms.chat.tiny import FAMILIES


def test_the_support_matrix_has_every_family_and_check():
    """Its cells are written by `python -m tests.vlms.chat.matrix`; the checks themselves are in `test_families.py`."""
    text = DOCUMENT.read_text("utf-8").split(START)[1].split(END)[0]
    head, _, *rows = [[c.strip() for c in line.strip("| \n").split("|")] for line in text.splitlines() if "|" in line]
    assert head[2 : 2 + len(CHECKS)] == list(CHECKS)
    assert [row[0] for row in rows] == [family.title for family in FAMILIES]
    assert all(row[2 : 2 + len(CHECKS)] == ["yes"] * len(CHECKS) for row in rows)
