"""Tokens of plain English, and n-grams of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

_REPLACEMENTS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\'", " '  "),
        (r"\"", ""),
        (r"\.", " . "),
        (r"<br \/>", " "),
        (r",", " , "),
        (r"\(", " ( "),
        (r"\)", " ) "),
        (r"\!", " ! "),
        (r"\?", " ? "),
        (r"\;", " "),
        (r"\:", " "),
        (r"\s+", " "),
    )
]


def ngrams_iterator(token_list: list[str], ngrams: int) -> Iterator[str]:
    """The tokens, and then what 2, 3, … `ngrams` of them in a row are."""
    yield from token_list
    for length in range(2, ngrams + 1):
        for start in range(len(token_list) - length + 1):
            yield " ".join(token_list[start : start + length])


def _basic_english_normalize(line: str) -> list[str]:
    line = line.lower()
    for pattern, replacement in _REPLACEMENTS:
        line = pattern.sub(replacement, line)
    return line.split()


def _split_tokenizer(line: str) -> list[str]:
    return line.split()


def get_tokenizer(tokenizer: str | None, language: str = "en") -> Callable[[str], Any] | None:
    """None: at spaces. `basic_english`: also at punctuation. Others: None."""
    if tokenizer is None:
        return _split_tokenizer
    if tokenizer != "basic_english":
        return None
    if language != "en":
        raise ValueError("Basic normalization is only available for Enlish(en)")
    return _basic_english_normalize
