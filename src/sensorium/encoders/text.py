"""From the text columns of an item to the one text that encoders read.

The template is "{title}. {description}" for any fields in any number; a missing field is dropped with its punctuation.
Lower-casing and cutting into words is the encoder's own affair.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable

VERSION = 1  # changes when the same fields would give another text; part of every key

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")  # needs a letter after "<", so that "3 < 5 > 4" and "<3" stay


def normalise(text: str | None) -> str:
    """Return clean text: entities unescaped, tags dropped, NFC, control characters and white space runs to one space.

    Tags are dropped before entities are unescaped and once more after, since "&lt;br&gt;" is how shops store them.
    None, and what holds no visible character, gives the empty text: there is no content.
    """
    if text is None:
        return ""
    bare = _without_tags(html.unescape(_without_tags(text)))
    composed = unicodedata.normalize("NFC", bare)
    visible = "".join(" " if unicodedata.category(sign) in ("Cc", "Cs") else sign for sign in composed)
    if all(unicodedata.category(sign)[0] in "ZC" for sign in visible):  # nothing but spaces and invisible joiners
        return ""
    return " ".join(visible.split())


def _without_tags(text: str) -> str:
    return _TAG.sub(" ", _COMMENT.sub(" ", text))


def assemble(fields: Iterable[str | None]) -> str:
    """Return the text of one item from its fields in order, or the empty text."""
    return ". ".join(part for part in map(normalise, fields) if part)
