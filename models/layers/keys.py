"""Embedding rows go from one day's table to the next by what they stand for, not by their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ncs4cvr.models.layers.embeddings import FieldEmbedding
from ncs4cvr.models.together.shards import Shard, put

PREFIX = "words_"  # of the arrays that words are kept in
Words = Mapping[str, Sequence[bytes]]  # vocabulary -> its words; the id of a word is 1 + its place


@dataclass(frozen=True)
class Moves:
    """Where the rows of an older embedding table go.

    Attributes:
      source, target: rows of the older table, and the new table's rows for the same keys.
      kept, new: how many words of all vocabularies are in both; only in the new one.
      rows: of the older table.
    """

    source: np.ndarray
    target: np.ndarray
    kept: int
    new: int
    rows: int

    def carry(self, old: np.ndarray, table: Any) -> None:
        """Every row of the new table that has a past gets it.

        Args:
          old: the older table, [rows, d].
          table: the new one, or a shard of it.

        Raises:
          ValueError: the older table is not of the same features: its rows are other keys'.
        """
        if len(old) != self.rows:
            raise ValueError(
                f"the older embedding table has {len(old):,} rows, its vocabularies with the "
                f"recipe's features make {self.rows:,}: their hash_buckets or bins have changed "
                "since; search again and train from a fresh start, or use the recipe of then"
            )
        if isinstance(table, Shard):
            table.take(self.target, old, self.source)
        else:
            put(table, self.target, old, self.source)


def packed(words: Words) -> dict[str, np.ndarray]:
    """Words as arrays that np.savez keeps without pickle; no word holds a line's end."""
    return {
        f"{PREFIX}{name}": np.frombuffer(b"\n".join(each), np.uint8) for name, each in words.items()
    }


def unpacked(arrays: Mapping[str, np.ndarray]) -> dict[str, list[bytes]]:
    """The words among the arrays.

    >>> unpacked(packed({"tag": [b"a", b"bc"], "city": []}))
    {'tag': [b'a', b'bc'], 'city': []}
    """
    return {
        name.removeprefix(PREFIX): arrays[name].tobytes().split(b"\n") if arrays[name].size else []
        for name in arrays
        if name.startswith(PREFIX)
    }


def moves(embedding: FieldEmbedding, old: Words, new: Words) -> Moves:
    """Matches the rows of two embedding tables of the same features.

    missing values   to missing values
    words            to the same word; words that are new keep the fresh row
    hash buckets     bucket to bucket: the hash of a word stays
    index, clocks    value to value
    numbers in bins  bucket to bucket, by order: a bucket is a share of the rows (the k-th twentieth
                     of the values), whose boundaries moved with the values

    Args:
      embedding: the new table's layer.
      old, new: the words of the older and of the new table's vocabularies.
    """
    source, target = [np.zeros(0, int)], [np.zeros(0, int)]  # there may be no vocabulary at all
    begin = kept = fresh = 0  # of a vocabulary in the older table
    for vocabulary, start in embedding.starts.items():
        before, now = old.get(vocabulary, ()), new.get(vocabulary, ())
        places = {word: place for place, word in enumerate(before)}
        found = np.array([places.get(word, -1) for word in now], int)
        words = np.flatnonzero(found >= 0)
        rest = np.arange(embedding.sizes[vocabulary] - 1 - len(now))  # hash buckets, or all values
        source += [begin + np.r_[0, 1 + found[words], 1 + len(before) + rest]]
        target += [start + np.r_[0, 1 + words, 1 + len(now) + rest]]
        begin += 1 + len(before) + len(rest)
        kept, fresh = kept + len(words), fresh + len(now) - len(words)
    return Moves(np.concatenate(source), np.concatenate(target), kept, fresh, begin)
