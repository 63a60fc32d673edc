"""Contrast of colours, by WCAG 2.2.  Colours are ``#rrggbb``."""

from __future__ import annotations

from typing import Final

#: Of text and its background, for everybody to read it (AA).
READABLE: Final = 4.5
#: The darkest surface of the light theme of ``page.css`` that links are on.
LIGHT_SURFACE: Final = "#eceef1"
_STEPS: Final = 20
_CHANNELS: Final = (1, 3, 5)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lightened(colour: str, background: str) -> str:
    """Return the colour with as much white as it needs to be readable on a dark background."""
    mixtures = (
        ("#" + "".join(f"{round(each + (255 - each) * (step / _STEPS)):02x}" for each in _channels(colour)))
        for step in range(_STEPS + 1)
    )
    return next((each for each in mixtures if contrast(each, background) >= READABLE), "#ffffff")


def _channels(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in _CHANNELS]


def _luminance(colour: str) -> float:
    red, green, blue = (_linear(each / 255) for each in _channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4  # noqa: PLR2004 - sRGB's own
