from __future__ import annotations

import pytest

from penstock.gateway.endpoint import Endpoint


@pytest.mark.parametrize(
    ("local", "wanted", "carriers"),
    [
        ("/run/worker", "auto", ("unix", "grpc")),
        ("/run/worker", "unix", ("unix",)),
        ("/run/worker", "grpc", ("grpc",)),
        ("", "auto", ("grpc",)),
        ("", "unix", ()),
        ("", "grpc", ("grpc",)),
    ],
)
def test_the_best_carrier_is_tried_first_and_one_that_is_demanded_alone(
    local: str, wanted: str, carriers: tuple[str, ...]
) -> None:
    endpoint = Endpoint("w", 1, "digits", 1, "10.0.0.1:1", draining=False, local_address=local)
    assert endpoint.carriers(wanted) == carriers
