"""Character sets of MariaDB and MySQL: which collation belongs to which, and their bytes as text, as the servers' own
conversion to utf8mb4 gives it.

A byte that a character set does not define becomes ``?`` there and here.  Bytes that are no text at all in a
multi-byte character set (old servers let some in) become U+FFFD rather than stop the log for ever.
"""

# ruff: noqa: RUF001 - Greek and Cyrillic character sets have letters that look like Latin ones

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from functools import cache

#: Character set → ids of its collations, of both servers, who agree on all that they share.
_COLLATIONS: Mapping[str, str] = {
    "armscii8": "32 64",
    "ascii": "11 65",
    "big5": "1 84",
    "binary": "63",
    "cp1250": "26 34 44 66 99",
    "cp1251": "14 23 50-52",
    "cp1256": "57 67",
    "cp1257": "29 58 59",
    "cp850": "4 80",
    "cp852": "40 81",
    "cp866": "36 68",
    "cp932": "95 96",
    "dec8": "3 69",
    "eucjpms": "97 98",
    "euckr": "19 85",
    "gb18030": "248-250",
    "gb2312": "24 86",
    "gbk": "28 87",
    "geostd8": "92 93",
    "greek": "25 70",
    "hebrew": "16 71",
    "hp8": "6 72",
    "keybcs2": "37 73",
    "koi8r": "7 74",
    "koi8u": "22 75",
    "latin1": "5 8 15 31 47-49 94",
    "latin2": "2 9 21 27 77",
    "latin5": "30 78",
    "latin7": "20 41 42 79",
    "macce": "38 43",
    "macroman": "39 53",
    "sjis": "13 88",
    "swe7": "10 82",
    "tis620": "18 89",
    "ucs2": "35 90 128-151 159 640-671 2560-2815",
    "ujis": "12 91",
    "utf16": "54 55 101-124 672-703 2816-3071",
    "utf16le": "56 62",
    "utf32": "60 61 160-183 736-767 3072-3327",
    "utf8mb3": "33 76 83 192-215 223 576-607 2048-2303",
    "utf8mb4": "45 46 224-247 255-323 608-639 2304-2559",
}
#: MariaDB's collations that do not pad have the padding ones' ids and this.
_NOPAD = 1024
_NOPAD_IDS = range(_NOPAD + 1, 2 * _NOPAD)
#: Bytes of the widest character, where it is not one.
_WIDTHS: Mapping[str, int] = {
    **dict.fromkeys(("big5", "cp932", "euckr", "gb2312", "gbk", "sjis", "ucs2"), 2),
    **dict.fromkeys(("eucjpms", "ujis", "utf8", "utf8mb3"), 3),
    **dict.fromkeys(("gb18030", "utf16", "utf16le", "utf32", "utf8mb4"), 4),
}
_UNICODE: Mapping[str, str] = {
    **dict.fromkeys(("utf8", "utf8mb3", "utf8mb4"), "utf-8"),
    **dict.fromkeys(("ucs2", "utf16"), "utf-16-be"),
    "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
}
#: Character set of one byte a character → Python's nearest codec, and what the servers read differently: first byte
#: (hexadecimal) and the characters from there on, each followed by a blank.
_SINGLE: Mapping[str, tuple[str, str]] = {
    "armscii8": (
        "latin-1",
        "A1❁§։)(»«—.՝,-՟…՜՛՞ԱաԲբԳգԴդԵեԶզԷէԸըԹթԺժԻիԼլԽխԾծԿկՀհՁձՂղՃճՄմՅյՆնՇշՈոՉչՊպՋջՌռՍսՎվՏտՐրՑցՒւՓփՔքՕօՖֆ’'",
    ),
    "ascii": ("ascii", ""),
    "cp1250": ("cp1250", ""),
    "cp1251": ("cp1251", ""),
    "cp1256": ("cp1256", "8A? 8F? 98? 9A? 9F? AA? C0? FF?"),
    "cp1257": ("cp1257", ""),
    "cp850": ("cp850", ""),
    "cp852": ("cp852", ""),
    "cp866": ("cp866", "FCⁿ²"),
    "dec8": ("latin-1", "A4? A6? A8¤ AC???? B4? B8? BE? D0? D7Œ DDŸ? F0? F7œ FDÿ??"),
    "geostd8": (
        "cp1252",
        "83? 88? 8A? 8C? 8E? 98??? 9C? 9E?? C0აბგდევზჱთიკლმნჲოპჟრსტჳუფქღყშჩცძწჭხჴჯჰჵ???????????????????????№??",
    ),
    "greek": ("iso8859-7", "A1ʽʼ A4?? AA?"),
    "hebrew": ("iso8859-8", "AF‾"),
    "hp8": ("hp-roman8", ""),
    "keybcs2": (
        "cp852",
        (
            "80Č 83ď 85ĎŤčěĚĹÍľĺ 8FÁ 91žŽ 95ÓůÚý 9BŠĽÝŘť A4ňŇŮÔšřŕŔ¼¡ B5╡╢╖╕ BD╜╛ C6╞╟ CF╧╨╤╥╙╘╒╓╫╪ DD▌▐ E0α "
            "E2ΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡ F7≈ F9∙·√ⁿ²"
        ),
    ),
    "koi8r": ("koi8-r", ""),
    "koi8u": ("koi8-u", "95•"),
    "latin1": ("cp1252", "81\x81 8D\x8d 8F\x8f\x90 9D\x9d"),
    "latin2": ("iso8859-2", ""),
    "latin5": ("iso8859-9", ""),
    "latin7": ("iso8859-13", ""),
    "macce": ("mac-latin2", ""),
    "macroman": ("mac-roman", ""),
    "swe7": ("ascii", "40É 5BÄÖÅÜ 60é 7Bäöåü?"),
    "tis620": ("tis-620", "A0� DB���� FC����"),
}
#: Character sets of several bytes whose characters Python reads just as the servers do.
_MULTIPLE: Mapping[str, str] = {
    "cp932": "cp932",
    "euckr": "cp949",
    "gb2312": "gb2312",
    "gbk": "gbk",
    "sjis": "shift-jis",
}
#: The two characters that Python's codec for gb18030 takes for each other.
_GB18030 = {0x1E3F: 0xE7C7, 0xE7C7: 0x1E3F}

TextDecoder = Callable[[bytes], str]


def _ids(text: str) -> list[int]:
    ids: list[int] = []
    for part in text.split():
        first, _, last = part.partition("-")
        ids += range(int(first), int(last or first) + 1)
    return ids


_CHARSETS: Mapping[int, str] = {number: name for name, text in _COLLATIONS.items() for number in _ids(text)}


def charset_of(collation: int) -> str | None:
    """The collation's character set; None when its id is not known."""
    return _CHARSETS.get(collation - _NOPAD if collation in _NOPAD_IDS else collation)


def width(charset: str) -> int:
    """Return the number of bytes of the widest character."""
    return _WIDTHS.get(charset, 1)


def is_utf8(charset: str) -> bool:
    return _UNICODE.get(charset) == "utf-8"


@cache
def text_decoder(charset: str) -> TextDecoder | None:
    """A function from stored bytes to text; it never fails.  None for character sets that Python reads differently."""
    if charset in _SINGLE:
        return _single(*_SINGLE[charset])
    if charset == "gb18030":
        return lambda data: data.decode("gb18030", "replace").translate(_GB18030)
    codec = _UNICODE.get(charset) or _MULTIPLE.get(charset)
    if codec is None:
        return None
    decode = codecs.getdecoder(codec)
    return lambda data: decode(data, "replace")[0]


def _single(codec: str, differences: str) -> TextDecoder:
    characters = [bytes([byte]).decode(codec, "replace").replace("\ufffd", "?") for byte in range(256)]
    for each in differences.split():
        first, texts = int(each[:2], 16), each[2:]
        characters[first : first + len(texts)] = texts
    table = "".join(characters)
    return lambda data: codecs.charmap_decode(data, "strict", table)[0]
