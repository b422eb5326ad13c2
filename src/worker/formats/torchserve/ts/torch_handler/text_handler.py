"""The base of handlers that take texts."""

from __future__ import annotations

import os
import re
import string
import unicodedata
from abc import ABC
from typing import Any

import torch

from ..handler_utils.text_utils import get_tokenizer
from ..utils.util import CLEANUP_REGEX
from .base_handler import BaseHandler
from .contractions import CONTRACTION_MAP

CONTRACTIONS_PATTERN = re.compile("({})".format("|".join(CONTRACTION_MAP)), flags=re.IGNORECASE | re.DOTALL)


class TextHandler(BaseHandler, ABC):
    """Cleans texts up; `source_vocab.pt` in the archive maps tokens to numbers (it is read with weights_only)."""

    def __init__(self) -> None:
        super().__init__()
        self.source_vocab: Any = None
        self.tokenizer = get_tokenizer("basic_english")
        self.input_text: Any = None
        self.lig: Any = None
        self.initialized = None

    def initialize(self, context: Any) -> None:
        """Load the model and the vocabulary."""
        super().initialize(context)
        self.initialized = False
        path = self.manifest["model"].get("sourceVocab") or self.get_source_vocab_path(context)
        self.source_vocab = torch.load(path, weights_only=True)
        self.initialized = True

    def get_source_vocab_path(self, ctx: Any) -> str:
        """Of `source_vocab.pt`, which must be there."""
        path = os.path.join(ctx.system_properties.get("model_dir"), "source_vocab.pt")
        if os.path.isfile(path):
            return path
        raise Exception(
            "Missing the source_vocab file. Refer default handler documentation for details on using text_handler."
        )

    def _expand_contractions(self, text: str) -> str:
        """`don't` → `do not`; the first letter stays as it is."""

        def expanded(match: re.Match[str]) -> str:
            found = match.group(0)
            long = CONTRACTION_MAP.get(found) or CONTRACTION_MAP[found.lower()]
            return found[0] + long[1:]

        return re.sub("'", "", CONTRACTIONS_PATTERN.sub(expanded, text))

    def _remove_accented_characters(self, text: str) -> str:
        return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("utf-8", "ignore")

    def _remove_html_tags(self, text: str) -> str:
        return CLEANUP_REGEX.sub("", text)

    def _remove_punctuation(self, text: str) -> str:
        return text.translate(str.maketrans("", "", string.punctuation))

    def _remove_puncutation(self, *args: Any, **kwargs: Any) -> str:
        """Misspelled in TorchServe once; handlers call it so."""
        return self._remove_punctuation(*args, **kwargs)

    def _tokenize(self, text: str) -> Any:
        assert self.tokenizer is not None
        return self.tokenizer(text)

    def get_word_token(self, input_tokens: list[str]) -> list[str]:
        """Tokens of BPE without their mark of a space."""
        return [token.replace("\u0120", "") for token in input_tokens]

    def summarize_attributions(self, attributions: Any) -> Any:
        """Scaled by their sum."""
        attributions = torch.nn.functional.softmax(attributions)
        return attributions / torch.norm(attributions.sum(dim=-1))
