"""Tools for tests: a loop whose time is virtual, and real processes for the length of a `with` block."""

from .parts import Part, Parts, parts
from .server import CommandFailed, Server, running
from .virtual_time import VirtualTimeLoop

__all__ = ["CommandFailed", "Part", "Parts", "Server", "VirtualTimeLoop", "parts", "running"]
