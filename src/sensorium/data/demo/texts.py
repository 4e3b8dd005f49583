"""Titles and descriptions: what words show of an item is its topic, and nothing else.

Each sentence takes its words from one topic, drawn by the item's shares, so that a second topic shows as a second
thread. Sentence patterns, names, moods and praise are the same for all topics. The style of an item has no part here.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sensorium.core.seeds import numpy_generator
from sensorium.data.demo.words import FORMS, MOODS, NAMES, PRAISE, TIMES, VOCABULARIES, Vocabulary

TITLES = (
    "The {mood} {thing}",
    "The {quality} {thing}",
    "{name} and the {mood} {thing}",
    "{name} of the {place}",
    "{name} and the {quality} {person}",
    "A {thing} for {name}",
    "The {thing} and the {place}",
    "Letters from the {quality} {place}",
    "{time} at the {place}",
    "The {person}'s {thing}",
    "The {mood} {person} of the {place}",
    "The Secret of the {mood} {person}",
)
OPENINGS = (
    "A {mood} {form} about a {person} who {deed}.",
    "{name} is a {person} who {deed}.",
    "For {time}, nobody meets the {person} who {deed}.",
    "A {quality} {form} that begins at the {place} and ends with a {thing}.",
    "Everyone at the {place} knows {name}, the {person} who {deed}.",
    "This is the {form} of {name}, a {quality} {thing} and the {place}.",
)
THREADS = (
    "Then a {thing} goes missing from the {place}.",
    "Between the {place} and a {quality} {thing}, {name} finds an old friend.",
    "There is a {thing}, there is a {mood} {person}, and there is the {place}.",
    "It takes {time} to bring the {thing} back to the {place}.",
    "Nobody has seen such a {quality} {thing} since {name} left the {place}.",
    "But what would a {person} want with a {thing}?",
)
SMALL_WORDS = {"a", "an", "and", "at", "for", "from", "in", "of", "the", "to"}


def write_texts(
    topic: npt.NDArray[np.float32], kinds: tuple[str, ...], seed: int, missing: float
) -> tuple[list[str], list[str | None]]:
    """Write a title and a description for each item.

    Args:
        topic: Shares of the topics, float32 [I, kinds].
        kinds: Names of the topics, keys of `VOCABULARIES`.
        seed: The seed of the catalogue.
        missing: Share of items that have a title alone.

    Returns:
        Titles, unique, and descriptions, None where there is none.
    """
    titles: list[str] = []
    descriptions: list[str | None] = []
    seen: Counter[str] = Counter()
    for item, shares in enumerate(topic.astype(np.float64)):
        generator = numpy_generator(seed, "demo", "text", item)
        drawn = generator.choice(len(kinds), size=3, p=shares / shares.sum())
        drawn[0] = shares.argmax()  # the title and the opening speak of the main topic
        vocabularies = [VOCABULARIES[kinds[index]] for index in drawn]
        title = _title_case(_fill(_pick(generator, TITLES), vocabularies[0], generator))
        seen[title] += 1
        titles.append(title if seen[title] == 1 else f"{title}, Part {seen[title]}")
        sentences = [_fill(_pick(generator, OPENINGS), vocabularies[0], generator)]
        sentences += [
            _fill(THREADS[pattern], vocabulary, generator)
            for pattern, vocabulary in zip(generator.permutation(len(THREADS)), vocabularies[1:], strict=False)
        ]
        sentences.append(_pick(generator, PRAISE))
        described = generator.random() >= missing
        descriptions.append(" ".join(sentences) if described else None)
    return titles, descriptions


def _pick(generator: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(generator.integers(len(options)))]


def _fill(pattern: str, words: Vocabulary, generator: np.random.Generator) -> str:
    """Fill a pattern with words of one topic; "a" becomes "an" where it must, the first letter is a capital."""
    text = pattern.format(
        thing=_pick(generator, words.things),
        place=_pick(generator, words.places),
        person=_pick(generator, words.people),
        quality=_pick(generator, words.qualities),
        deed=_pick(generator, words.deeds),
        mood=_pick(generator, MOODS),
        form=_pick(generator, FORMS),
        name=_pick(generator, NAMES),
        time=_pick(generator, TIMES),
    )
    parts = text.split(" ")
    for place, (word, following) in enumerate(pairwise(parts)):
        if word in ("a", "A") and following[0].lower() in "aeiou":
            parts[place] = f"{word}n"
    text = " ".join(parts)
    return text[0].upper() + text[1:]


def _title_case(text: str) -> str:
    first, *rest = text.split(" ")
    return " ".join([first, *(word if word in SMALL_WORDS else word[0].upper() + word[1:] for word in rest)])
