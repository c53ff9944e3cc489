"""Whether values that training did not have are values of it, written otherwise."""

from __future__ import annotations

import html
import re
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

_SOME = 0.3
"""A spelling must explain so much of what is unseen; the rest may be news."""
_MOST = 0.8
"""The same of a spelling that was read off the values."""

Key = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Spelling:
    """A way to write values that does not change what they mean."""

    name: str
    """What happened to the values: `letter case changed`."""
    key: Key
    """Alike for two values that differ in this way only."""


@dataclass(frozen=True)
class Respelled:
    """New values that are known ones, written otherwise."""

    name: str
    mapping: dict[bytes, bytes]
    """From a new value to the known one; as many as are explained."""
    share: float
    """Of the rows, those with a value that is explained."""


def find_spelling(reference: dict[bytes, float], unseen: dict[bytes, float]) -> Respelled | None:
    """The spelling that explains most of the unseen values' share, if it explains enough.

    Args:
        reference: The shares of training's values.
        unseen: The shares of the values that it did not have.
    """
    mass = sum(unseen.values())
    best: Respelled | None = None
    for least, spellings in ((_SOME, _SPELLINGS), (_MOST, (*_affixes(reference, unseen), *_cuts(reference, unseen)))):
        for spelling in spellings:
            found = _explain(spelling, reference, unseen)
            if found.share >= least * mass and (best is None or found.share > best.share + 1e-9):
                best = found
    return best


def _explain(spelling: Spelling, reference: dict[bytes, float], unseen: dict[bytes, float]) -> Respelled:
    known = {spelling.key(each): each for each in reversed(reference)}  # the most frequent one wins
    mapping = {}
    for each in unseen:
        key = spelling.key(each)
        if key and key in known:
            mapping[each] = known[key]
    return Respelled(spelling.name, mapping, sum(unseen[each] for each in mapping))


def _spaces(value: bytes) -> bytes:
    return b"".join(value.split())


def _quotes(value: bytes) -> bytes:
    return value.strip(b"\"'`")


def _bytes_repr(value: bytes) -> bytes:
    found = re.fullmatch(rb"b(['\"])(.*)\1", value, re.DOTALL)
    return found[2] if found else value


def _encoding(value: bytes) -> bytes:
    """UTF-8 out of UTF-8 that was read as Latin-1 (or Windows-1252) and written again, of Latin-1, and of UTF-16."""
    plain = value.removeprefix(b"\xef\xbb\xbf").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff").replace(b"\0", b"")
    try:
        text = plain.decode()
    except UnicodeDecodeError:
        return plain.decode("latin-1").encode()
    for wrong in ("latin-1", "cp1252"):
        try:
            return text.encode(wrong).decode().encode()
        except UnicodeError:
            continue
    return plain


def _lossy(value: bytes) -> bytes:
    """Whatever is not ASCII, once or more in a row, as one question mark."""
    return re.sub(rb"(\?|[\x80-\xff])+", b"?", value)


def _escapes(value: bytes) -> bytes:
    text = value.decode("utf-8", errors="surrogateescape")
    return urllib.parse.unquote_plus(html.unescape(text)).encode("utf-8", errors="surrogateescape")


def _decimal(value: bytes) -> bytes:
    try:
        number = float(value.replace(b",", b""))
    except ValueError:
        return value
    return repr(number).encode()


def _zeros(value: bytes) -> bytes:
    return value.lstrip(b"0") or value[-1:]


def _separators(value: bytes) -> bytes:
    return re.sub(rb"[-_ ./]+", b"", value)


def _casefold(value: bytes) -> bytes:
    return value.decode("utf-8", errors="surrogateescape").casefold().encode("utf-8", errors="surrogateescape")


_SPELLINGS = (
    Spelling("letter case changed", _casefold),
    Spelling("white space was added or taken away", _spaces),
    Spelling("quotes were added or taken away", _quotes),
    Spelling("bytes were written as Python shows them", _bytes_repr),
    Spelling("the text encoding is damaged", _encoding),
    Spelling("the text encoding is damaged", _lossy),
    Spelling("characters are escaped otherwise (HTML or URL)", _escapes),
    Spelling("leading zeros were added or taken away", _zeros),
    Spelling("numbers are formatted otherwise", _decimal),
    Spelling("separators changed", _separators),
    Spelling("letter case and white space changed", lambda value: _casefold(_spaces(value))),
)


def _affixes(reference: dict[bytes, float], unseen: dict[bytes, float]) -> Iterable[Spelling]:
    """What nearly all new values begin or end with, or nearly all known ones did."""
    if len(unseen) < 2 and len(reference) > 2:
        return
    for values, deed in ((list(unseen), "added"), (list(reference), "taken away")):
        start = _common_start(values)
        for length in range(len(start), 0, -1):
            name = f"the prefix {_shown(start[:length])} was {deed}"
            yield Spelling(name, partial(_without_prefix, start[:length]))
        end = _common_start([each[::-1] for each in values])[::-1]
        for length in range(len(end), 0, -1):
            name = f"the suffix {_shown(end[-length:])} was {deed}"
            yield Spelling(name, partial(_without_suffix, end[-length:]))


def _without_prefix(prefix: bytes, value: bytes) -> bytes:
    return value.removeprefix(prefix)


def _without_suffix(suffix: bytes, value: bytes) -> bytes:
    return value.removesuffix(suffix)


def _common_start(values: list[bytes]) -> bytes:
    """The longest start (to 16 bytes) of at least nine tenths of the values."""
    start = b""
    while len(start) < 16:
        following = Counter(
            each[: len(start) + 1] for each in values if each.startswith(start) and len(each) > len(start)
        )
        if not following:
            break
        longer, count = following.most_common(1)[0]
        if count < 0.9 * len(values):
            break
        start = longer
    return start


def _cuts(reference: dict[bytes, float], unseen: dict[bytes, float]) -> Iterable[Spelling]:
    """All new values are of one length, and known ones begin with them."""
    lengths = {len(each) for each in unseen}
    if len(unseen) >= 3 and len(lengths) == 1 and all(len(each) >= max(lengths) for each in reference):
        length = max(lengths)
        yield Spelling(
            f"values are cut off after {length} {'byte' if length == 1 else 'bytes'}", lambda value: value[:length]
        )


def _start(length: int, value: bytes) -> bytes:
    return value[:length]


def _shown(text: bytes) -> str:
    return repr(text.decode("utf-8", errors="backslashreplace"))
