"""A damaged head stops only what compares with it."""

import pytest

from engine.core.errors import ArtefactError
from engine.recognition.gallery import load_gallery


@pytest.mark.parametrize(("damaged", "requested"), [("Rex", "Anna"), ("Anna", "Rex")])
def test_a_damaged_head_of_another_kind_is_not_read(session, damaged, requested):
    bad, good = session.store.get(damaged), session.store.get(requested)
    for path in (session.folder / "concepts" / bad.id).glob("head-*"):
        path.write_bytes(path.read_bytes()[:50])
    models = (session.store, session.recogniser_config, session.recognition)
    assert load_gallery(*models, [good]).requested == {good.id}
    with pytest.raises(ArtefactError):
        load_gallery(*models, [bad])
