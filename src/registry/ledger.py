"""What gateways have counted of each alias's traffic, in memory; each report counts once. No rules, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .state import Model, Settings
from .traffic import AliasTraffic, Evidence, added, of_alias

MAX_GATEWAYS = 1024
"""Of so many the last report is known, those heard of last; and in each alias's evidence of so few:"""
_MAX_NOTED = 64


@dataclass(frozen=True, slots=True)
class Report:
    """What a gateway counted of one alias; the evidence says for which revisions."""

    name: str
    alias: str
    counted: Evidence


class Ledger:
    """All evidence. Only what was counted for the present revision of an alias's traffic says something of it."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._evidence: dict[tuple[str, str], Evidence] = {}
        self._reports: dict[str, int] = {}
        self._words: dict[tuple[str, str], str] = {}
        for model in models:
            for traffic in model.settings.traffic:
                self._evidence[model.name, traffic.alias] = traffic.evidence
                for gateway, sequence in traffic.evidence.reports.items():
                    self._note(gateway, max(sequence, self._reports.get(gateway, 0)))

    def is_new(self, gateway: str, sequence: int) -> bool:
        """Whether a report has not been counted yet; it counts as such from now on."""
        if sequence <= self._reports.get(gateway, 0):
            return False
        self._note(gateway, sequence)
        return True

    def _note(self, gateway: str, sequence: int) -> None:
        self._reports.pop(gateway, None)
        self._reports[gateway] = sequence
        if len(self._reports) > MAX_GATEWAYS:
            del self._reports[next(iter(self._reports))]

    def add(self, model: Model, report: Report, gateway: str, sequence: int) -> bool:
        """Add what was counted to what is known; False: it says nothing of what is set now."""
        traffic = of_alias(model.settings.traffic, report.alias)
        known, counted = self.of(model.name, traffic), report.counted
        arms = counted.arms if counted.revision == traffic.revision else ()
        comparisons = counted.comparisons if traffic.shadow and counted.shadow_revision == known.shadow_revision else ()
        if not traffic.revision or not (arms or comparisons):
            return False
        reports = {g: s for g, s in known.reports.items() if g != gateway} | {gateway: sequence}
        self._evidence[model.name, traffic.alias] = replace(
            known,
            arms=added(known.arms, arms),
            comparisons=added(known.comparisons, comparisons),
            reports=dict(list(reports.items())[-_MAX_NOTED:]),
        )
        return True

    def of(self, name: str, traffic: AliasTraffic) -> Evidence:
        """What is known of an alias's traffic as it is now."""
        known = self._evidence.get((name, traffic.alias), Evidence())
        compared = traffic.shadow.revision if traffic.shadow is not None else 0
        if known.revision != traffic.revision:
            known = replace(known, revision=traffic.revision, arms=())
        if known.shadow_revision != compared:
            known = replace(known, shadow_revision=compared, comparisons=())
        return known

    def say(self, name: str, alias: str, words: str) -> bool:
        """Note why a canary is left as it is; False: that is known."""
        if self._words.get((name, alias)) == words:
            return False
        self._words[name, alias] = words
        return True

    def shown(self, model: Model) -> Settings:
        """A model's settings with what is known now."""
        if not model.settings.traffic:
            return model.settings
        return replace(model.settings, traffic=tuple(self._shown(model.name, t) for t in model.settings.traffic))

    def kept(self, model: Model) -> Settings:
        """A model's settings as they are to be written, so that what was counted outlives the process."""
        traffic = tuple(replace(t, evidence=self.of(model.name, t)) for t in model.settings.traffic)
        return replace(model.settings, traffic=traffic)

    def _shown(self, name: str, traffic: AliasTraffic) -> AliasTraffic:
        canary = traffic.running
        if canary is not None and (words := self._words.get((name, traffic.alias))):
            traffic = replace(traffic, canary=replace(canary, explanation=words))
        return replace(traffic, evidence=self.of(name, traffic))
