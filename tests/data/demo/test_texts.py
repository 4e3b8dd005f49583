"""Titles and descriptions show the topic, read well, and are never twice the same."""

import re

import numpy as np
import pytest

from sensorium.data.demo.texts import write_texts
from sensorium.data.demo.words import FORMS, MOODS, NAMES, PRAISE, TIMES, VOCABULARIES
from sensorium.data.demo.world import FACTORS

KINDS = FACTORS[0].kinds


def shares(main: list[int], second: int | None = None, part: float = 0.0) -> np.ndarray:
    table = np.zeros((len(main), len(KINDS)), dtype=np.float32)
    table[np.arange(len(main)), main] = 1 - part
    if second is not None:
        table[:, second] += part
    return table


def test_every_topic_has_its_words() -> None:
    assert set(VOCABULARIES) == set(KINDS)
    for vocabulary in VOCABULARIES.values():
        for words in (vocabulary.things, vocabulary.places, vocabulary.people, vocabulary.qualities, vocabulary.deeds):
            assert len(words) >= 4
            assert len(set(words)) == len(words)


def test_topics_share_no_noun_phrase() -> None:
    """A phrase that two topics share would blur what the text shows."""
    seen: dict[str, str] = {}
    for kind, vocabulary in VOCABULARIES.items():
        for phrase in (*vocabulary.things, *vocabulary.places, *vocabulary.people, *vocabulary.qualities):
            assert seen.setdefault(phrase, kind) == kind, phrase


def test_same_seed_same_words() -> None:
    topic = shares([0, 1, 2] * 20)
    assert write_texts(topic, KINDS, 3, 0.1) == write_texts(topic, KINDS, 3, 0.1)
    assert write_texts(topic, KINDS, 3, 0.1) != write_texts(topic, KINDS, 4, 0.1)


def test_titles_are_unique_even_in_a_crowd() -> None:
    titles, descriptions = write_texts(shares([0] * 3_000), KINDS, 0, 0)
    assert len(set(titles)) == 3_000
    assert len(set(descriptions)) > 2_900


def test_share_without_description() -> None:
    _, descriptions = write_texts(shares([4] * 2_000), KINDS, 0, 0.25)
    assert np.mean([text is None for text in descriptions]) == pytest.approx(0.25, abs=0.03)


def test_texts_are_made_of_their_topic_and_shared_words() -> None:
    titles, descriptions = write_texts(shares([0] * 200), KINDS, 0, 0)
    foreign = {
        word
        for kind, v in VOCABULARIES.items()
        for phrase in (*v.things, *v.places, *v.people, *v.qualities)
        for word in phrase.split()
        if kind != "sea"
    }
    sea = VOCABULARIES["sea"]
    own = " ".join((*sea.things, *sea.places, *sea.people, *sea.qualities, *sea.deeds, *PRAISE, *FORMS, *MOODS, *TIMES))
    foreign -= set(own.lower().replace(",", "").split())
    for text in [*titles, *descriptions]:
        assert text is not None
        assert not foreign & set(re.findall(r"[\w-]+", text.lower())), text


def test_second_topic_shows_in_the_description() -> None:
    _, descriptions = write_texts(shares([0] * 300, second=6, part=0.4), KINDS, 0, 0)
    music = VOCABULARIES["music"]
    phrases = (*music.things, *music.places, *music.people)
    told = np.mean([any(phrase in text for phrase in phrases) for text in descriptions if text])
    assert 0.3 < told < 0.9


def test_sentences_are_well_formed() -> None:
    titles, descriptions = write_texts(shares(list(range(len(KINDS))) * 60), KINDS, 1, 0)
    for text in [*titles, *filter(None, descriptions)]:
        assert "{" not in text
        assert "  " not in text
        assert text[0].isupper()
        assert not re.search(r"\b[Aa] [aeiouAEIOU]", text), text
        assert not re.search(r"\b[Aa]n [^aeiouAEIOU]", text), text
    for text in filter(None, descriptions):
        assert text.endswith((".", "?"))
    assert any(name in title for title in titles for name in NAMES)
