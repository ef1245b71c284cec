import pytest

from engine.core.colours import COLOURS, colour_number, colour_of


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_can_be_read_in_both_modes(colour):
    assert contrast(colour, "#ffffff") >= 4.5  # white text on it, and text in it on a white card
    assert contrast(colour, "#222220") >= 3.0  # a frame or dot on a dark card


def test_a_colour_depends_on_the_name_alone():
    assert colour_of("Rex") == colour_of("REX") == COLOURS[colour_number("rex")]
    assert colour_of("Zoe\u0301") == colour_of("zo\u00e9")
    assert len({colour_of(n) for n in ("Rex", "Anna", "Mug")}) == 3
    assert len({colour_number(f"name {n}") for n in range(200)}) == len(COLOURS)


def test_a_name_of_any_bytes_has_a_colour():
    assert colour_of("\udcff") in COLOURS
