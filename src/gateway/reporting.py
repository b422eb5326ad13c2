"""Tells the registry what was counted, once a second and each thing once."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from dataclasses import fields

import grpc.aio

from penstock.v1 import traffic_pb2 as pb
from penstock.v1.registry_pb2_grpc import RegistryServiceStub

from ..rpc.registries import Registries
from .figures import ArmCounts, Arms, Figures, PairCounts, Pairs

_INTERVAL, _TIMEOUT = 1.0, 5.0

log = logging.getLogger("penstock.gateway")


class Reporter:
    """Reports until cancelled.

    Args:
        registries: owned by the caller.
        figures: what is reported.
        api_key: for the registry; empty: none.
    """

    def __init__(self, registries: Registries, figures: Figures, api_key: str) -> None:
        self._registries = registries
        self._figures = figures
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self._gateway = os.urandom(8).hex()
        self._sequence = 0

    async def run(self) -> None:
        """Report once a second if there is something. One that may not have arrived is sent again as it was."""
        pending: pb.ReportTrafficRequest | None = None
        while True:
            await asyncio.sleep(_INTERVAL)
            pending = pending or self._next()
            if pending is not None and await self._send(pending):
                pending = None

    def _next(self) -> pb.ReportTrafficRequest | None:
        reports = list(map_reports(*self._figures.take()))
        if not reports:
            return None
        self._sequence += 1
        return pb.ReportTrafficRequest(gateway=self._gateway, sequence=self._sequence, reports=reports)

    async def _send(self, request: pb.ReportTrafficRequest) -> bool:
        try:
            stub = RegistryServiceStub(self._registries.channel)
            await stub.ReportTraffic(request, timeout=_TIMEOUT, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            log.info("the registry was not told what was counted (%s); it is told again", error.code().name)
            return False
        return True


def map_reports(arms: Arms, pairs: Pairs) -> list[pb.TrafficReport]:
    """One for each alias and revision."""
    reports: dict[tuple[str, str, int, int], pb.TrafficReport] = {}

    def report(name: str, alias: str, revision: int, shadow_revision: int) -> pb.TrafficReport:
        key = name, alias, revision, shadow_revision
        empty = pb.TrafficReport(name=name, alias=alias, revision=revision, shadow_revision=shadow_revision)
        return reports.setdefault(key, empty)

    for (name, alias, revision, version), arm in arms.items():
        _fill(report(name, alias, revision, 0).arms.add(version=version), arm)
    for (name, alias, revision, version, shadow), pair in pairs.items():
        _fill(report(name, alias, 0, revision).comparisons.add(version=version, shadow_version=shadow), pair)
    return list(reports.values())


def _fill(message: pb.ArmFigures | pb.ComparisonFigures, counts: ArmCounts | PairCounts) -> None:
    for entry in fields(counts):
        value = getattr(counts, entry.name)
        if isinstance(value, Counter):
            histogram = getattr(message, entry.name)
            for bucket in sorted(value):
                histogram.buckets.append(bucket)
                histogram.counts.append(value[bucket])
        else:
            setattr(message, entry.name, value)
