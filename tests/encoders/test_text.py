"""Text of real catalogues becomes clean text, or is absent."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.encoders.text import assemble, normalise


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Men&#39;s &amp; Boys", "Men's & Boys"),
        ("one<br>two<br/>three", "one two three"),
        ("&lt;b&gt;bold&lt;/b&gt; words", "bold words"),
        ("<p class='x'>a</p><!-- no\nword --> b", "a b"),
        ("3 < 5 > 4 and I <3 you", "3 < 5 > 4 and I <3 you"),
        ("tab\tline\nnull\x00bell\x07end", "tab line null bell end"),
        ("  many   spaces\u00a0 ", "many spaces"),
        ("cafe\u0301", "café"),
        ("👩‍🚀 family", "👩‍🚀 family"),
        ("שלום עולם", "שלום עולם"),
        ("Upper Case Stays", "Upper Case Stays"),
        ("   \t\n ", ""),
        ("\u200b\u200d", ""),
        ("<br><br/>", ""),
        ("&nbsp;", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_normalise(raw: str | None, clean: str) -> None:
    """EN-9: entities, tags, emoji, right-to-left, only spaces."""
    assert normalise(raw) == clean


def test_long_text_is_kept_whole() -> None:
    """EN-9: 20,000 characters; cutting is the encoder's affair."""
    assert len(normalise("word " * 4_000)) == 4_000 * 5 - 1


@given(st.text())
def test_clean_text_is_stable(raw: str) -> None:
    clean = normalise(raw)
    assert unicodedata.is_normalized("NFC", clean)
    assert clean == " ".join(clean.split())
    assert not any(unicodedata.category(sign) == "Cc" for sign in clean)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (["Title", "Words."], "Title. Words."),
        (["Title", None], "Title"),
        (["Title", "  "], "Title"),
        ([None, "Words"], "Words"),
        (["a", "", "c"], "a. c"),
        ([None, "<br>"], ""),
        ([], ""),
    ],
)
def test_missing_fields_go_with_their_punctuation(fields: list[str | None], text: str) -> None:
    assert assemble(fields) == text
