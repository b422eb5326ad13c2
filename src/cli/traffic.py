"""`split`, `shadow`, `canary`: share an alias's requests out over versions, mirror them, try a new version on them."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.v1 import traffic_pb2 as pb

from ..config import BadSetting
from ..errors import FailedPrecondition
from .control import TIMEOUT, Control, control
from .options import Address, ApiKey, Format, Output, client
from .traffic_report import print_traffic

Name = Annotated[str, typer.Argument(help="The model's name.")]
Wanted = Annotated[int | None, typer.Argument(help="The version; none: show what is set.", show_default=False)]
OfAlias = Annotated[str, typer.Option("--alias", help="Whose requests.")]
Sticky = Annotated[str, typer.Option("--sticky", help="The metadata key whose value decides, such as x-user-id.")]
Expected = Annotated[
    int | None, typer.Option(help="Only if the alias's traffic has this revision (0: none).", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (split, shadow, canary):
        app.command()(command)


def split(
    name: Name,
    parts: Annotated[list[str] | None, typer.Argument(help="VERSION=WEIGHT ...; none: show what is set.")] = None,
    alias: OfAlias = "stable",
    sticky: Sticky = "",
    off: Annotated[bool, typer.Option("--off", help="End the split.")] = False,
    expected: Expected = None,
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Share an alias's requests out over versions by weight."""
    with control(address, api_key) as registry:
        if parts or off:
            request = pb.SetSplitRequest(name=name, alias=alias, expected_revision=expected)
            if parts:
                request.split.CopyFrom(pb.TrafficSplit(parts=map(_part, parts), sticky_key=sticky))
            registry.stub.SetSplit(request, timeout=TIMEOUT, metadata=registry.metadata)
        print_traffic(_traffic(registry, name, alias), output)


def shadow(
    name: Name,
    version: Wanted = None,
    alias: OfAlias = "stable",
    share: Annotated[float, typer.Option(help="Of the alias's requests, how many are mirrored: up to 1.")] = 1.0,
    tolerance: Annotated[
        float, typer.Option(help="Numbers may differ by this share of the greatest in their output.")
    ] = 0.001,
    off: Annotated[bool, typer.Option("--off", help="End the shadow.")] = False,
    expected: Expected = None,
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Have another version answer a share of an alias's requests as well, and compare the answers."""
    with control(address, api_key) as registry:
        if version is not None or off:
            request = pb.SetShadowRequest(name=name, alias=alias, expected_revision=expected)
            if version is not None:
                request.shadow.CopyFrom(pb.TrafficShadow(version=version, share=share, tolerance=tolerance))
            registry.stub.SetShadow(request, timeout=TIMEOUT, metadata=registry.metadata)
        print_traffic(_traffic(registry, name, alias), output)


def canary(
    name: Name,
    version: Wanted = None,
    alias: OfAlias = "stable",
    steps: Annotated[str, typer.Option(help="Per cent, ascending; 100 follows.")] = "1,5,25,50",
    min_requests: Annotated[int, typer.Option(help="Answered by it in a step before the next.")] = 500,
    step_time: Annotated[float, typer.Option(help="Seconds that a step lasts at least.")] = 10.0,
    max_error_increase: Annotated[float, typer.Option(help="By how much its share of failures may be greater.")] = 0.01,
    max_latency_ratio: Annotated[float, typer.Option(help="How many times as slow it may be; 0: any.")] = 1.5,
    max_disagreement: Annotated[float, typer.Option(help="Of answers that a shadow compares, how many.")] = 0.01,
    alpha: Annotated[float, typer.Option(help="The chance of taking back one that keeps to the bounds.")] = 0.01,
    sticky: Sticky = "",
    stop: Annotated[bool, typer.Option("--stop", help="End it: the alias stays what it is.")] = False,
    promote: Annotated[bool, typer.Option("--promote", help="End it: the alias means its version at once.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until it ends; fails unless the version is promoted.")] = False,
    expected: Expected = None,
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Give a version more of an alias's requests step by step, as long as it does no harm."""
    with control(address, api_key) as registry:
        if stop or promote:
            ended = pb.StopCanaryRequest(name=name, alias=alias, promote=promote)
            registry.stub.StopCanary(ended, timeout=TIMEOUT, metadata=registry.metadata)
        elif version is not None:
            policy = pb.CanaryPolicy(
                steps=_steps(steps),
                min_requests=min_requests,
                max_error_increase=max_error_increase,
                max_latency_ratio=max_latency_ratio,
                max_disagreement=max_disagreement,
                alpha=alpha,
            )
            policy.min_step_time.FromMilliseconds(round(step_time * 1000))
            request = pb.StartCanaryRequest(
                name=name, alias=alias, version=version, policy=policy, sticky_key=sticky, expected_revision=expected
            )
            registry.stub.StartCanary(request, timeout=TIMEOUT, metadata=registry.metadata)
        found = _traffic(registry, name, alias)
    if wait and found:
        _until_ended(name, found[0], address, api_key)
    with control(address, api_key) as registry:
        found = _traffic(registry, name, alias)
        print_traffic(found, output)
    last = found[0].canary if found else pb.Canary()
    if wait and last.state != pb.CANARY_STATE_PROMOTED:
        text = f"version {last.version} was not promoted: {last.explanation}" if found else "there is no canary"
        raise FailedPrecondition(text, precondition=f"{name}@{alias}")


def _part(text: str) -> pb.SplitPart:
    version, _, weight = text.partition("=")
    try:
        return pb.SplitPart(version=int(version), weight=float(weight))
    except ValueError:
        raise BadSetting(f"{text!r} is not VERSION=WEIGHT, such as 2=10") from None


def _steps(text: str) -> list[float]:
    try:
        return [float(step) for step in text.split(",")]
    except ValueError:
        raise BadSetting(f"--steps {text!r} are not numbers with commas between, such as 1,5,25,50") from None


def _until_ended(name: str, seen: pb.AliasTraffic, address: str | None, api_key: str | None) -> None:
    """Wait until no canary runs; the gateway that is watched may not have heard yet of the one that was seen."""
    with client(address, api_key) as caller:
        for change in caller.watch_status(name, timeout=365 * 24 * 3600.0):
            for traffic in (t for model in change.models for t in model.traffic if t.alias == seen.alias):
                running = traffic.canary is not None and traffic.canary.state == "RUNNING"
                if traffic.revision >= seen.revision and not running:
                    return


def _traffic(registry: Control, name: str, alias: str) -> list[pb.AliasTraffic]:
    request = pb.GetTrafficRequest(name=name, alias=alias)
    return list(registry.stub.GetTraffic(request, timeout=TIMEOUT, metadata=registry.metadata).traffic)
