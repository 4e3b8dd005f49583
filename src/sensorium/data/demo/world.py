"""The hidden state of the demo world: what items are, what users like, and how both meet in time.

Nothing here is visible to a model. What can be seen of it is made elsewhere, one file for each way of seeing:
`texts.py` turns an item's topic into words, `covers.py` turns its style into a picture, `sounds.py` its rhythm and a
part of its style into sound, `clips.py` its formation and a part of its topic into a clip, `interactions.py` turns
tastes into rows. A new modality is a new file that shows a factor.

Taste, in the words of a discrete-choice model (McFadden 1974): the utility of item i for user u at time t is

    sum over factors f of weight_f * < taste_f[u, t], x_f[i] - mean_f >

with x_f[i] the shares of item i over the kinds of factor f, a point of the simplex, and taste a Gaussian vector that
moves on a straight line from a first to a last one while the user is active ("drift").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sensorium.core.seeds import numpy_generator
from sensorium.data.demo.config import DemoConfig

Floats = npt.NDArray[np.float32]

GROUPS = ("a", "b")
AGE_BANDS = ("18-24", "25-34", "35-49", "50+")


@dataclass(frozen=True)
class Factor:
    """One hidden trait of items: its kinds, and where it can be seen."""

    name: str
    kinds: tuple[str, ...]
    seen_in: str


FACTORS = (
    Factor(
        "topic",
        ("sea", "mountains", "space", "garden", "kitchen", "city", "music", "machines", "forest", "castle"),
        "title and description",
    ),
    Factor(
        "style",
        ("sunrise", "geometry", "nocturne", "meadow", "graphite", "neon", "pastel", "terracotta"),
        "cover",
    ),
    # What no content shows, as in every real catalogue: only who else liked the item tells it.
    Factor("circle", ("first", "second", "third", "fourth", "fifth", "sixth"), "behaviour alone"),
)

# What a catalogue with sounds, or with clips, has beside them: the part of the taste that no other content shows.
RHYTHM = Factor("rhythm", ("heartbeat", "march", "waltz", "gallop", "trill", "tide"), "sound")
FORMATION = Factor("formation", ("single", "pair", "row", "ring", "grid", "swarm"), "clip")


def factors_of(config: DemoConfig) -> tuple[Factor, ...]:
    """Return the traits that matter in a world."""
    sound = (RHYTHM,) if "audio" in config.modalities else ()
    clip = (FORMATION,) if "video" in config.modalities else ()
    return (*FACTORS, *sound, *clip)


@dataclass(frozen=True)
class World:
    """The planted truth. Arrays of items have I rows, arrays of users U rows, in dense id order."""

    item: dict[str, Floats]  # factor -> [I, kinds], shares that sum to 1
    popularity: npt.NDArray[np.float64]  # [I], chance to be shown, sums to 1
    arrival: npt.NDArray[np.float64]  # [I], when the item enters the catalogue, as a share of the time span
    cold: npt.NDArray[np.bool_]  # [I], late arrivals that few have seen
    taste_first: dict[str, Floats]  # factor -> [U, kinds], when the user joins
    taste_last: dict[str, Floats]  # factor -> [U, kinds], when the user leaves
    group: npt.NDArray[np.int64]  # [U], index into GROUPS
    age_band: npt.NDArray[np.int64]  # [U], index into AGE_BANDS, -1 = not told
    activity: npt.NDArray[np.int64]  # [U], number of occasions
    joined: npt.NDArray[np.float64]  # [U], share of the time span
    left: npt.NDArray[np.float64]  # [U], share of the time span

    @property
    def n_items(self) -> int:
        """The number of items, I."""
        return len(self.popularity)

    @property
    def n_users(self) -> int:
        """The number of users, U."""
        return len(self.activity)


def make_world(config: DemoConfig) -> World:
    """Draw the hidden state of a world. The same config gives the same world."""
    item = _item_factors(config)
    popularity, arrival, cold = _exposure(config)
    users = _users(config)
    return World(item=item, popularity=popularity, arrival=arrival, cold=cold, **users)


def _item_factors(config: DemoConfig) -> dict[str, Floats]:
    """Draw each item's shares: one main kind, and up to `blend` of a second one."""
    shares: dict[str, Floats] = {}
    rows = np.arange(config.items)
    for factor in factors_of(config):
        generator = numpy_generator(config.world_seed, "demo", "items", factor.name)
        kinds = len(factor.kinds)
        main = generator.integers(kinds, size=config.items)
        if factor.name == "style":  # the weak part that text and image share: each topic leans to one style
            leans = generator.random(config.items) < config.shared
            main = np.where(leans, shares["topic"].argmax(1) % kinds, main)
        second = (main + generator.integers(1, kinds, size=config.items)) % kinds
        part = generator.uniform(0, config.blend, size=config.items)
        table = np.zeros((config.items, kinds), dtype=np.float32)
        table[rows, main] = 1 - part
        table[rows, second] = part
        shares[factor.name] = table
    return shares


def _exposure(config: DemoConfig) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Draw who is shown how often, and since when: a long tail, and cold items at its end that have just arrived."""
    generator = numpy_generator(config.world_seed, "demo", "exposure")
    rank = generator.permutation(config.items)
    weight = (rank + config.head) ** -config.tail
    # Six in ten items are there from the start, the others arrive over most of the time span.
    arrival = np.where(generator.random(config.items) < 0.6, 0.0, generator.uniform(0, 0.85, size=config.items))
    # The cold ones are spread over all topics and styles by chance, but they hold the last ranks of the tail.
    cold = rank >= config.items - round(config.cold * config.items)
    arrival = np.where(cold, generator.uniform(0.9, 1.0, size=config.items), arrival)
    return weight / weight.sum(), arrival, cold


def _users(config: DemoConfig) -> dict[str, Any]:
    """Draw the users: who they are, what they like first and last, how active they are, and when."""
    generator = numpy_generator(config.world_seed, "demo", "users")
    group = generator.integers(len(GROUPS), size=config.users)
    age = generator.integers(len(AGE_BANDS), size=config.users)
    told = generator.random(config.users) >= config.missing
    # A clipped log-normal: most users are quiet, a few are very active; `rows_per_user` is its mean.
    spread = 0.7
    raw = generator.lognormal(np.log(config.rows_per_user) - spread**2 / 2, spread, size=config.users)
    activity = np.clip(np.rint(raw), config.min_rows, max(config.min_rows, config.items // 4)).astype(np.int64)
    joined = generator.uniform(0, 0.6, size=config.users)
    left = joined + generator.uniform(0.3, 1.0, size=config.users) * (1 - joined)
    first, last = _tastes(config, group, age)
    return {
        "taste_first": first,
        "taste_last": last,
        "group": group,
        "age_band": np.where(told, age, -1),
        "activity": activity,
        "joined": joined,
        "left": left,
    }


def _tastes(
    config: DemoConfig, group: npt.NDArray[np.int64], age: npt.NDArray[np.int64]
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Draw tastes: standard normal, plus what the user's group (all factors) and age (half as much) lean to.

    The leaning does not drift: it is what makes the sensitive attributes readable from behaviour.
    """
    first: dict[str, Floats] = {}
    last: dict[str, Floats] = {}
    side = np.where(group == 0, 1.0, -1.0)[:, None]
    seniority = np.linspace(-1, 1, len(AGE_BANDS))[age][:, None]
    angle = config.drift * np.pi / 2
    for factor in factors_of(config):
        generator = numpy_generator(config.world_seed, "demo", "tastes", factor.name)
        kinds = len(factor.kinds)
        start, turn = generator.standard_normal((2, config.users, kinds))
        lean = config.leak * (side * _direction(generator, kinds) + 0.5 * seniority * _direction(generator, kinds))
        first[factor.name] = (start + lean).astype(np.float32)
        last[factor.name] = (np.cos(angle) * start + np.sin(angle) * turn + lean).astype(np.float32)
    return first, last


def _direction(generator: np.random.Generator, kinds: int) -> npt.NDArray[np.float64]:
    """Return as many +1 as -1, shuffled (one 0 for an odd number): float64 [kinds]."""
    return generator.permutation(np.sign(np.arange(kinds) - (kinds - 1) / 2))
