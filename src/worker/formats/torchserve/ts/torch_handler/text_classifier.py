"""What a text is about: the probability of every class. One text at a time."""

from __future__ import annotations

from typing import Any

import torch

from ..handler_utils.text_utils import ngrams_iterator
from ..utils.util import map_class_to_label
from .text_handler import TextHandler


class TextClassifier(TextHandler):
    """For models such as EmbeddingBag: called with the numbers of all tokens and `ngrams`, and with offsets [0]."""

    ngrams = 2

    def preprocess(self, data: Any) -> Any:
        """The first request's text, cleaned up, as numbers, and its tokens."""
        text = data[0].get("data") or data[0].get("body")
        if isinstance(text, (bytes, bytearray)):
            text = text.decode("utf-8")
        text = self._expand_contractions(self._remove_html_tags(text).lower())
        text = self._remove_punctuation(self._remove_accented_characters(text))
        tokens = self._tokenize(text)
        numbers = [self.source_vocab[token] for token in ngrams_iterator(tokens, self.ngrams)]
        return torch.as_tensor(numbers, device=self.device), tokens

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """[1, classes]."""
        numbers, _ = data
        return super().inference(numbers, torch.as_tensor([0], device=self.device))

    def postprocess(self, data: Any) -> Any:
        """By label the probabilities."""
        return map_class_to_label(torch.nn.functional.softmax(data, dim=-1).tolist(), self.mapping)
