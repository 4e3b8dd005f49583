"""The vocabulary of the demo catalogue: one list of words for each topic, and words that every topic shares.

All of it was written for this project and is free to use under its licence.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Vocabulary:
    """What a topic talks about. Things and people are countable nouns, places follow "the", deeds follow "who"."""

    things: tuple[str, ...]
    places: tuple[str, ...]
    people: tuple[str, ...]
    qualities: tuple[str, ...]
    deeds: tuple[str, ...]


VOCABULARIES: dict[str, Vocabulary] = {
    "sea": Vocabulary(
        things=("anchor", "oyster", "rowing boat", "tide chart", "foghorn", "fishing net", "seashell", "gull", "sail"),
        places=("lagoon", "harbour", "reef", "lighthouse", "quay", "estuary", "shoreline"),
        people=("ferry pilot", "lighthouse keeper", "pearl diver", "net mender", "harbour master"),
        qualities=("salty", "tidal", "briny", "windward", "coastal"),
        deeds=(
            "mends nets before the tide turns",
            "rows out past the reef",
            "counts gulls above the quay",
            "sails home on the evening tide",
        ),
    ),
    "mountains": Vocabulary(
        things=(
            "ice axe",
            "cairn",
            "goat bell",
            "summit flag",
            "climbing rope",
            "snow lantern",
            "avalanche dog",
            "peak",
        ),
        places=("summit", "glacier", "ridge", "alpine pass", "moraine", "base camp", "north face"),
        people=("mountain guide", "goatherd", "summit surveyor", "hut warden", "climber"),
        qualities=("steep", "snowbound", "alpine", "granite", "windswept"),
        deeds=(
            "climbs the north ridge alone",
            "ropes up before sunrise",
            "crosses the glacier on foot",
            "waits out an avalanche in a hut",
        ),
    ),
    "space": Vocabulary(
        things=("comet", "satellite", "star chart", "airlock", "moon rover", "telescope", "solar sail", "meteorite"),
        places=("orbit", "crater", "observatory", "space dock", "nebula", "launch pad", "asteroid belt"),
        people=("astronaut", "astronomer", "orbit mechanic", "rocket engineer", "moon surveyor"),
        qualities=("weightless", "lunar", "stellar", "cosmic", "interplanetary"),
        deeds=(
            "maps a nebula by hand",
            "repairs a satellite in the dark",
            "counts down to the launch",
            "sends signals from lunar orbit",
        ),
    ),
    "garden": Vocabulary(
        things=("seed packet", "watering can", "rose", "trellis", "beehive", "spade", "tulip bulb", "scarecrow"),
        places=("greenhouse", "orchard", "allotment", "flower bed", "hedge maze", "potting shed", "lawn"),
        people=("gardener", "beekeeper", "botanist", "florist", "rose grower"),
        qualities=("blooming", "leafy", "fragrant", "mossy", "overgrown"),
        deeds=(
            "plants tulips in the rain",
            "prunes the oldest rose",
            "moves the beehives at night",
            "saves seeds from every orchard",
        ),
    ),
    "kitchen": Vocabulary(
        things=(
            "copper pan",
            "sourdough",
            "pepper mill",
            "recipe card",
            "rolling pin",
            "soup pot",
            "noodle bowl",
            "oven",
        ),
        places=("kitchen", "bakery", "market stall", "spice shop", "dining room", "pantry", "tea house"),
        people=("baker", "pastry chef", "spice trader", "dumpling maker", "cook"),
        qualities=("buttery", "simmering", "peppery", "toasted", "savoury"),
        deeds=(
            "kneads dough at midnight",
            "guards a recipe for dumplings",
            "seasons every soup twice",
            "bakes bread for the whole street",
        ),
    ),
    "city": Vocabulary(
        things=("tram ticket", "neon sign", "taxi", "rooftop antenna", "subway map", "newspaper stand", "elevator"),
        places=("boulevard", "subway", "rooftop", "tram depot", "alley", "skyline", "night bus"),
        people=("tram driver", "doorman", "taxi dispatcher", "night courier", "street photographer"),
        qualities=("urban", "crowded", "downtown", "rush-hour", "concrete"),
        deeds=(
            "drives the last tram downtown",
            "delivers letters by taxi",
            "photographs every rooftop on the boulevard",
            "reads the paper on the subway",
        ),
    ),
    "music": Vocabulary(
        things=("violin", "drum kit", "tuning fork", "vinyl record", "accordion", "metronome", "cello", "song sheet"),
        places=("concert hall", "rehearsal room", "jazz cellar", "bandstand", "recording studio", "opera house"),
        people=("cellist", "choir leader", "drummer", "piano tuner", "songwriter"),
        qualities=("melodic", "syncopated", "harmonic", "offbeat", "orchestral"),
        deeds=(
            "tunes pianos by ear",
            "writes a song in four chords",
            "plays the violin between trains",
            "leads a choir of beginners",
        ),
    ),
    "machines": Vocabulary(
        things=(
            "cogwheel",
            "steam engine",
            "clockwork bird",
            "spanner",
            "robot arm",
            "pocket watch",
            "blueprint",
            "piston",
        ),
        places=("workshop", "clock tower", "factory floor", "foundry", "engine room", "laboratory", "assembly line"),
        people=("clockmaker", "inventor", "mechanic", "foundry worker", "toolmaker"),
        qualities=("mechanical", "clockwork", "rusty", "geared", "electric"),
        deeds=(
            "oils every cogwheel by hand",
            "builds a clockwork bird from scrap",
            "draws blueprints on old envelopes",
            "restarts a steam engine after a century",
        ),
    ),
    "forest": Vocabulary(
        things=("acorn", "fox den", "owl", "antler", "mushroom ring", "badger trail", "pine cone", "otter"),
        places=("forest", "clearing", "beaver dam", "fern valley", "oak wood", "wetland", "riverbank"),
        people=("forest ranger", "birdwatcher", "tracker", "woodcutter", "fox photographer"),
        qualities=("wild", "feathered", "woodland", "untamed", "furry"),
        deeds=(
            "follows a badger trail at dusk",
            "waits three days for an owl",
            "raises an orphaned otter",
            "knows every oak by name",
        ),
    ),
    "castle": Vocabulary(
        things=("sword", "crown", "wax seal", "tapestry", "drawbridge", "scroll", "shield", "throne"),
        places=("castle", "moat", "royal court", "monastery", "dungeon", "great hall", "battlement"),
        people=("knight", "queen", "herald", "royal scribe", "squire"),
        qualities=("medieval", "royal", "noble", "besieged", "legendary"),
        deeds=(
            "carries a sealed scroll to the queen",
            "guards the drawbridge through the siege",
            "stitches a tapestry of the battle",
            "swears an oath to a lost crown",
        ),
    ),
}

# Shared by all topics, so that most words of a text say nothing about what is liked.
MOODS = ("quiet", "gentle", "brave", "curious", "golden", "secret", "patient", "restless", "hidden", "last", "little")
FORMS = ("story", "portrait", "diary", "journey", "puzzle", "love letter", "memoir", "adventure", "comedy", "mystery")
NAMES = ("Ada", "Bruno", "Clara", "Dario", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Leila", "Mateo")
TIMES = (
    "one long winter",
    "a single night",
    "seven summers",
    "a week in spring",
    "the year of the storm",
    "one Sunday",
)
PRAISE = (
    "Told with warmth and an eye for detail.",
    "Short, wise and full of surprises.",
    "Best enjoyed in one sitting.",
    "A favourite of readers who like slow evenings.",
    "Funny on every page, and sad only once.",
    "You will want to begin again at once.",
)
