"""Where public data sets are published, and what is known of the files: the table behind `data get`.

Nothing of them is bundled: each is fetched from its publisher, whose terms hold. A checksum stands here where the
publisher or the authors state one; else it is recorded at the first download (`getting.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sensorium.core.errors import DataError
from sensorium.core.registry import did_you_mean

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
SNAP_2014 = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
UCSD = "https://mcauleylab.ucsd.edu/public_datasets/data"
WESTLAKE = "https://recsys.westlake.edu.cn"


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set.

    Attributes:
        url: Where its publisher has it.
        checksum: "md5:..." or "sha256:..." as published, or None.
        changes: Whether the publisher replaces it from time to time under the same address.
    """

    url: str
    checksum: str | None = None
    changes: bool = False

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Archive:
    """A public data set.

    Attributes:
        name: What `data get` calls it.
        files: What is fetched; archives are unpacked.
        config: How it is then imported (`ImportConfig`).
        licence: Its terms, in a few words.
        page: Where people read about it, and get it by hand.
        by_hand: Why a program does not fetch it, or "".
    """

    name: str
    files: tuple[RemoteFile, ...]
    config: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    page: str = ""
    by_hand: str = ""


def _movielens(edition: str, md5: str | None = None, *, changes: bool = False) -> Archive:
    file = RemoteFile(f"{GROUPLENS}/ml-{edition}.zip", None if md5 is None else f"md5:{md5}", changes)
    return Archive(
        f"movielens-{edition}",
        (file,),
        {"reader": "movielens"},
        "GroupLens: research use, no redistribution without permission",
        "https://grouplens.org/datasets/movielens/",
    )


def _microlens(subset: str, files: dict[str, str | None]) -> Archive:
    return Archive(
        f"microlens-{subset.lower()}",
        tuple(
            RemoteFile(f"{WESTLAKE}/MicroLens-{subset}-Dataset/{name}", checksum) for name, checksum in files.items()
        ),
        {"reader": {"name": "microlens", "subset": subset}},
        "MicroLens: research use, no redistribution",
        f"{WESTLAKE}/MicroLens-{subset}-Dataset/",
    )


_FIXED = (
    _movielens("100k", "0e33842e24a9c977be4e0107933c0723"),
    _movielens("1m", "c4d9eecfca2ab87c1945afe126590906"),
    _movielens("10m", "ce571fd55effeba0271552578f2648bd"),
    _movielens("20m", "cd245b17a1ae2cc31bb14903e1204af3"),
    _movielens("25m", "6b51fb2759a8657d3bfcbfc42b592ada"),
    _movielens("32m"),
    _movielens("latest-small", changes=True),
    _movielens("latest", changes=True),
    _microlens(
        "50k",
        {
            "MicroLens-50k_pairs.csv": "sha256:7ff8b91bcc84f5434ac2c5be7d0b7d7730f5e84f79f9648b5ae67a7641f97bbd",
            "MicroLens-50k_titles.csv": "sha256:244aad5380cbbe0fb43458cfcda5ebe820f534384602f80a64dbbcd07dd30e49",
            "MicroLens-50k_likes_and_views.txt": (
                "sha256:9031dcd6fd575abc28776b6fe55a9b5a5a6446ff1d25bbb97d0e9437f480dfb2"
            ),
        },
    ),
    _microlens("100k", {"MicroLens-100k_pairs.csv": None, "MicroLens-100k_title_en.csv": None}),
    Archive(
        "yelp",
        (),
        {"reader": "yelp"},
        "Yelp Open Dataset: academic use under Yelp's terms, no redistribution",
        "https://business.yelp.com/data/resources/open-dataset/",
        "its terms are accepted by a person on that page",
    ),
)
ARCHIVES: dict[str, Archive] = {archive.name: archive for archive in _FIXED}
FAMILIES = {
    "amazon-2014-": "a category as its files name it: amazon-2014-Beauty (5-core reviews and metadata)",
    "amazon-2018-": "a category: amazon-2018-All_Beauty (5-core reviews and metadata)",
    "amazon-2023-": "a category: amazon-2023-All_Beauty (all reviews and metadata)",
}


def find_archive(name: str) -> Archive:
    """Return what is known of a public data set.

    Raises:
        DataError: There is none of this name.
    """
    if name in ARCHIVES:
        return ARCHIVES[name]
    for prefix in FAMILIES:
        category = name.removeprefix(prefix)
        if name.startswith(prefix) and category.replace("_", "").isalnum():
            return _amazon(name, prefix.split("-")[1], category)
    known = [*ARCHIVES, *(f"{prefix}CATEGORY" for prefix in FAMILIES)]
    raise DataError(f"no public data set is called '{name}'{did_you_mean(name, known)} (known: {', '.join(known)})")


def _amazon(name: str, year: str, category: str) -> Archive:
    urls = {
        "2014": (f"{SNAP_2014}/reviews_{category}_5.json.gz", f"{SNAP_2014}/meta_{category}.json.gz"),
        "2018": (
            f"{UCSD}/amazon_v2/categoryFilesSmall/{category}_5.json.gz",
            f"{UCSD}/amazon_v2/metaFiles2/meta_{category}.json.gz",
        ),
        "2023": (
            f"{UCSD}/amazon_2023/raw/review_categories/{category}.jsonl.gz",
            f"{UCSD}/amazon_2023/raw/meta_categories/meta_{category}.jsonl.gz",
        ),
    }[year]
    pages = {
        "2014": "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
        "2018": "https://nijianmo.github.io/amazon/",
        "2023": "https://amazon-reviews-2023.github.io/",
    }
    return Archive(
        name,
        tuple(RemoteFile(url) for url in urls),
        {"reader": "amazon"},
        "Amazon Reviews (McAuley lab): research use; see the publisher's terms",
        pages[year],
    )
