"""What the health service says of the gateway: the process (""), each service, and each model under `models/NAME`."""

from __future__ import annotations

from collections.abc import Sequence

from ..rpc.health import MODELS, Health
from .balancer import Balancer
from .directory import Directory
from .peek import DEFAULT_ALIAS
from .routing import is_expected


class ModelHealth:
    """Keeps `table` in step with the directory.

    A model is SERVING when a worker of the version that its alias `stable` means is connected, or would be loaded if it
    were asked for.
    """

    def __init__(self, directory: Directory, balancer: Balancer, services: Sequence[str]) -> None:
        self.table = Health()
        self._directory = directory
        self._balancer = balancer
        self._services = dict.fromkeys(["", *services], True)

    def refresh(self) -> None:
        """Bring the process, its services and every model up to date."""
        models = {f"{MODELS}{name}": self._is_served(name) for name in self._directory.routes}
        self.table.update(self._services | models)

    def _is_served(self, name: str) -> bool:
        route = self._directory.routes[name]
        version = route.means(DEFAULT_ALIAS)
        if version is None:
            return False
        asleep = version in route.on_demand and is_expected(self._directory.routes, name, version)
        return asleep or self._balancer.ready((name, version)) > 0
