"""Units of length, by the names that OME-Zarr has for them."""

from __future__ import annotations

from collections.abc import Mapping

NANOMETERS = {
    "angstrom": 0.1,
    "nanometer": 1,
    "micrometer": 1_000,
    "millimeter": 1_000_000,
    "centimeter": 10_000_000,
    "inch": 25_400_000,
    "meter": 1_000_000_000,
}
SYMBOLS = {
    "angstrom": "A",
    "nanometer": "nm",
    "micrometer": "um",
    "millimeter": "mm",
    "centimeter": "cm",
    "inch": "in",
    "meter": "m",
}
_OTHERS = {"micron": "micrometer", "microns": "micrometer", "å": "angstrom", '"': "inch"}
_NAMES = {name: name for name in NANOMETERS} | {short.lower(): name for name, short in SYMBOLS.items()} | _OTHERS


def named(unit: str) -> str:
    """Return the name of a unit however it is written; "" where it is none of length.

    Examples
    --------
    >>> [named(each) for each in ("µm", "um", "micron", "Nanometre", "pixel")]
    ['micrometer', 'micrometer', 'micrometer', 'nanometer', '']
    """
    plain = unit.strip().replace("\\u00B5", "u").replace("µ", "u").replace("μ", "u").lower()
    if plain.endswith("metre"):
        plain = plain[:-2] + "er"
    return _NAMES.get(plain, "")


def alike(sizes: Mapping[str, tuple[float, str]]) -> tuple[dict[str, float], str]:
    """Bring sizes, each with its unit, to the unit of x: sizes by axis, and the unit.

    A unit that is not one of length is "", and then so is that of all.

    Examples
    --------
    >>> alike({"X": (0.5, "um"), "Z": (2000.0, "nm")})
    ({'X': 0.5, 'Z': 2.0}, 'micrometer')
    """
    units = {axis: named(unit) for axis, (_, unit) in sizes.items()}
    unit = units.get("X", "")
    if not unit or not all(units.values()):
        return {axis: size for axis, (size, _) in sizes.items()}, ""
    brought = {a: s if units[a] == unit else s * NANOMETERS[units[a]] / NANOMETERS[unit] for a, (s, _) in sizes.items()}
    return brought, unit
