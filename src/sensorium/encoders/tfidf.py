"""tfidf-svd: words weighted by rarity, then their main directions (latent semantic analysis, Deerwester et al. 1990).

    x_iw = (1 + ln count_iw) * (ln((1 + n) / (1 + n_w)) + 1),  rows of unit length;  vector_i = x_i V

with n texts, n_w of them holding word w, and V [words, P] the first P right singular vectors of the fitted texts. The
sign of each direction is fixed by its largest entry, so that the same texts give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sensorium.core import config as core_config
from sensorium.core.errors import DataError
from sensorium.core.files import read_json, read_npy, write_json, write_npy
from sensorium.core.seeds import derive
from sensorium.encoders import text
from sensorium.encoders.base import EncoderCard, Vectors


class TfidfSvd:
    """A text encoder without weights: TF-IDF and a truncated SVD."""

    class Config(core_config.Config):
        """What can be chosen."""

        dim: int = Field(128, ge=1, description="width of the vector; less where the texts span less")
        min_texts: int = Field(2, ge=1, description="a word counts when this many of the fitted texts hold it")

    card = EncoderCard(
        name="tfidf-svd",
        family="fitted",
        modality="text",
        pooled_dim=128,
        languages="any that separates words by spaces",
        preprocessing="fields joined by '. ', no entities, no tags, NFC, lower case, words of two or more letters",
        prep_version=text.VERSION,
    )

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()
        self.words: list[str] = []  # in the order of columns
        self.rarity: npt.NDArray[np.float64] = np.empty(0)  # [words], the inverse document frequencies
        self.directions: npt.NDArray[np.float64] = np.empty((0, 0))  # [P, words]

    def prepare(self, raw: str) -> str:
        """Return the text as it is: `text.assemble` has cleaned it."""
        return raw

    def fit(self, prepared: Sequence[str]) -> None:
        """Learn the vocabulary, the rarity of its words, and the main directions.

        Raises:
            DataError: The texts share too few words.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.utils.extmath import randomized_svd

        vectorizer = TfidfVectorizer(sublinear_tf=True, dtype=np.float64)
        try:
            vectorizer.set_params(min_df=min(self.config.min_texts, len(prepared)))
            weighted = vectorizer.fit_transform(prepared)
        except ValueError:
            raise DataError(
                f"tfidf-svd cannot be fitted: no word stands in {self.config.min_texts} of {len(prepared)} texts; "
                "lower min_texts, or check the text fields"
            ) from None
        self.words = [str(word) for word in vectorizer.get_feature_names_out()]
        self.rarity = vectorizer.idf_
        width = min(self.config.dim, *weighted.shape)
        seed = derive(0, "tfidf-svd") % 2**32
        _, lengths, directions = randomized_svd(weighted, width, n_iter=7, random_state=seed)
        # Directions without length are rounding noise, which a model that standardises would blow up.
        directions = directions[lengths > 1e-6 * lengths[0]]
        largest = np.abs(directions).argmax(1)
        self.directions = directions * np.sign(directions[np.arange(len(directions)), largest])[:, None]

    def forward(self, prepared: Sequence[str]) -> Vectors:
        """Return the vectors, float32 [n, P]; a text without a known word gives zeros."""
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.preprocessing import normalize

        counts = CountVectorizer(vocabulary=self.words, dtype=np.float64).transform(prepared)
        counts.data = (1 + np.log(counts.data)) * self.rarity[counts.indices]
        vectors: npt.NDArray[Any] = normalize(counts) @ self.directions.T
        return vectors.astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write vocabulary.json, rarity.npy and directions.npy."""
        write_json(folder / "vocabulary.json", self.words)
        write_npy(folder / "rarity.npy", self.rarity)
        write_npy(folder / "directions.npy", self.directions)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.words = read_json(folder / "vocabulary.json")
        self.rarity = read_npy(folder / "rarity.npy")
        self.directions = read_npy(folder / "directions.npy")
        if not len(self.words) == len(self.rarity) == self.directions.shape[-1]:
            raise DataError(f"{folder}: vocabulary, rarity and directions do not belong together; encode again")
