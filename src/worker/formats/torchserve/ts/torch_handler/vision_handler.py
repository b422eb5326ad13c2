"""The base of handlers that take images."""

from __future__ import annotations

import base64
import io
from abc import ABC
from typing import Any

import torch

from ..handler_utils.timer import timed
from .base_handler import BaseHandler


class VisionHandler(BaseHandler, ABC):
    """Requests are encoded images (bytes, or base64 in a str), or lists of numbers."""

    image_processing: Any

    def initialize(self, context: Any) -> None:
        """As the base."""
        super().initialize(context)
        if not context.system_properties.get("limit_max_image_pixels"):
            from PIL import Image

            Image.MAX_IMAGE_PIXELS = None

    @timed
    def preprocess(self, data: Any) -> Any:
        """[batch, channels, height, width]."""
        return torch.stack([self._image(row.get("data") or row.get("body")) for row in data]).to(self.device)

    def _image(self, image: Any) -> Any:
        if isinstance(image, str):
            image = base64.b64decode(image)
        if not isinstance(image, (bytes, bytearray)):
            return torch.FloatTensor(image)
        from PIL import Image

        return self.image_processing(Image.open(io.BytesIO(image)))

    def get_insights(self, tensor_data: Any, raw: Any, target: Any = 0) -> Any:
        """What captum says of the input."""
        from captum.attr import IntegratedGradients

        return IntegratedGradients(self.model).attribute(tensor_data, target=target, n_steps=15).tolist()
