"""Where versions come from that the registry fetches itself: object stores and web servers."""

from .origin import Found, Origin
from .origins import Origins

__all__ = ["Found", "Origin", "Origins"]
