"""Tools for tests: a loop whose time is virtual, and a real `penstock up` for the length of a `with` block."""

from .server import CommandFailed, Server, running
from .virtual_time import VirtualTimeLoop

__all__ = ["CommandFailed", "Server", "VirtualTimeLoop", "running"]
