"""Any XMP document: what is foreign stays, a second merge changes nothing, taking ours out leaves what was there."""

from dataclasses import replace

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from engine.core.errors import SidecarError
from engine.sidecars.xmp import Policy, read_xmp_status, remove_content
from tests.sidecars.xmp_oracles import LATER, NOW, WORDS, assert_kept, graph, members, merging
from tests.sidecars.xmp_strategies import packets

OTHER = replace(WORDS, caption="Rex awoke.", names=("Rex",), people=(), hierarchy=("Pets|Rex",))
SLOW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def merge(data, words, **more):
    try:
        return merging(data, words, NOW, **more).data or data
    except SidecarError:
        event("given up")
        return None


@SLOW
@given(packets())
def test_any_packet_keeps_every_foreign_property(data):
    merged = merge(data, WORDS)
    if merged is None:
        return
    junk = ("SONY DSC", "OLYMPUS DIGITAL CAMERA", WORDS.caption)  # the caption: as a mirror of ours
    assert_kept(data, merged, replaced=junk)
    assert merging(merged, WORDS, LATER).data is None
    again = merge(merged, OTHER)
    assert_kept(data, again, replaced=junk)
    assert merging(again, OTHER, LATER).data is None
    assert read_xmp_status(again).marked
    left = remove_content(again)
    if left is not None:
        assert graph(left, shared=True) == graph(data, shared=True)
        assert remove_content(left) == left
    else:
        assert not graph(data)


@SLOW
@given(packets(), st.builds(Policy, st.booleans(), st.booleans()))
def test_any_packet_with_any_policy(data, policy):
    merged = merge(data, WORDS, policy=policy)
    if merged is None:
        return
    assert graph(merged) == graph(data)
    assert merging(merged, WORDS, LATER, policy=policy).data is None
    left = remove_content(merged)
    if left is not None:
        assert graph(left) == graph(data)
        for name in ("dc:description", "tiff:ImageDescription"):
            assert [t for t, _ in members(left, name) if t.strip()] == [t for t, _ in members(data, name) if t.strip()]
    for name in (frozenset({"Anna"}), frozenset({"Rex", "Anna"})):
        scrubbed = remove_content(merged, name, frozenset({"ab12"}))
        assert scrubbed is None or graph(scrubbed) == graph(data)
        assert scrubbed is None or b"ab12" not in scrubbed
