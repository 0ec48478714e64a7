"""Arrays <-> bytes: what is left of a sparse network when nothing is said twice.

Every function here has its inverse in stock TensorFlow ops: see decoding.py.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import ml_dtypes
import numpy as np

ESCAPE = 255  # a gap code that moves on by as much and names no position
STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY)
BLOCK = 1 << 16  # rows that become integers at once
#: How weights and embeddings may be kept; int8 for embeddings alone.
VALUES = {"f32": np.dtype(np.float32), "bf16": np.dtype(ml_dtypes.bfloat16)}


def gap_codes(positions: np.ndarray) -> np.ndarray:
    """Increasing positions -> uint8 codes: the number of cells skipped before each.

    A gap of g is g // 255 escapes and then g % 255.

    >>> gap_codes(np.array([0, 2, 300]))
    array([  0,   1, 255,  42], dtype=uint8)
    """
    gaps = np.diff(positions, prepend=-1) - 1
    escapes = gaps // ESCAPE
    codes = np.full(len(gaps) + int(escapes.sum()), ESCAPE, np.uint8)
    codes[np.cumsum(escapes + 1) - 1] = gaps % ESCAPE
    return codes


def positions(codes: np.ndarray) -> np.ndarray:
    """The inverse of `gap_codes`.

    >>> positions(np.array([0, 1, 255, 42], np.uint8))
    array([  0,   2, 300])
    """
    names_one = codes < ESCAPE
    return (np.cumsum(codes.astype(np.int64) + names_one) - 1)[names_one]


def planes(values: np.ndarray) -> np.ndarray:
    """[n] numbers of b bytes -> [b, n] bytes: the first bytes of all, then the second ones ...

    Signs and exponents of weights are much alike, their mantissas are noise: apart, the former
    compress.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    return flat.view(np.uint8).reshape(-1, flat.itemsize).T


def exponents_apart(values: np.ndarray) -> np.ndarray:
    """The bits of float32 or bfloat16, one to the left: signs last, exponents a byte of their own.

    There they are together: cut in two, the halves compress less well.

    >>> np.array([1.5, -1.5], np.float32).view(np.uint32).tolist()
    [1069547520, 3217031168]
    >>> exponents_apart(np.array([1.5, -1.5], np.float32)).tolist()
    [2139095040, 2139095041]
    """
    bits = values.view(f"u{values.itemsize}")
    return (bits << 1) | (bits >> (8 * values.itemsize - 1))


def squeeze(raw: bytes) -> bytes:
    """zlib at its smallest: of all strategies, the one that does best on these bytes."""
    tried = []
    for strategy in STRATEGIES:
        packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, strategy)
        tried.append(packer.compress(raw) + packer.flush())
    return min(tried, key=len)


def rowwise_int8(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """table [rows, d] -> int8 [rows, d] and scales [rows]: row = scale * integers.

    The scale is the row's largest magnitude / 127, so the error is at most half a scale; a row of
    zeros has scale 0.
    """
    integers, scales = np.empty(table.shape, np.int8), np.empty(len(table), np.float32)
    for first in range(0, len(table), BLOCK):
        part = slice(first, first + BLOCK)
        scales[part] = np.abs(table[part]).max(axis=1) / np.float32(127)
        divisor = np.where(scales[part] > 0, scales[part], 1)[:, None]
        integers[part] = np.rint(table[part] / divisor)
    return integers, scales


def information_limit(masks: Sequence[np.ndarray], bits_per_value: int) -> float:
    """Bytes below which no lossless code of these tickets over one kernel can be expected to go.

    n H(M_1, ..., M_T) bits for the tickets, H the entropy of which tasks keep a connection, and
    `bits_per_value` for every connection that a task keeps. Weights whose exponents are alike can
    be coded in fewer bits than that.

    Args:
      masks: one boolean mask a task, of the same shape.
      bits_per_value: 32 or 16.
    """
    which = np.zeros(masks[0].size, np.int64)  # a bit a task
    for t, mask in enumerate(masks):
        which += mask.reshape(-1).astype(np.int64) << t
    counts = np.unique(which, return_counts=True)[1]
    shares = counts / counts.sum()
    entropy = -float((counts * np.log2(shares)).sum())
    return (entropy + bits_per_value * int((which > 0).sum())) / 8
