"""Splits, shadows and canaries at work: what operators ask for, what gateways report, what the clock decides."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from ..errors import VersionNotAvailable
from . import canary_rules, rules, traffic_rules
from .canary import Action, Seen, Verdict, decide
from .catalogue import Catalogue
from .ledger import Report
from .names import name_violations, refuse
from .state import STABLE, Model, ModelView, State
from .traffic import AliasTraffic, Canary, CanaryPolicy, CanaryState, Shadow, Split, of_alias
from .turns import Turns

SHOW_S, SAVE_S = 5.0, 10.0
"""Seconds between two times that followers are told what was counted, and between two writes of it. A registry that is
killed forgets at most so much; nothing is counted twice."""

log = logging.getLogger("penstock.registry")


class Traffic:
    """The traffic of all aliases. Changes take their turns.

    Args:
        catalogue: has the models.
        turns: the registry's.
        wall: unix seconds.
        monotonic: seconds.
    """

    def __init__(
        self, catalogue: Catalogue, turns: Turns, wall: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._catalogue = catalogue
        self._turns = turns
        self._wall = wall
        self._monotonic = monotonic
        self._unshown: set[str] = set()
        """Models of which more is known since they were last shown,"""
        self._unsaved: set[str] = set()
        """and since they were last written."""
        self._shown = self._saved = monotonic()

    def of(self, name: str, alias: str) -> list[AliasTraffic]:
        """The traffic of an alias (empty: of all), as it is now. Raises ModelNotFound."""
        refuse(name_violations("alias", alias) if alias else ())
        shown = self._catalogue.ledger.shown(self._catalogue.known(name))
        return [traffic for traffic in shown.traffic if alias in ("", traffic.alias)]

    async def set_split(
        self, name: str, alias: str, split: Split | None, expected: int | None, principal: str
    ) -> AliasTraffic:
        """See `traffic_rules.set_split`; an empty alias is `stable`, here and below."""

        def rule(model: Model, alias: str, available: set[int]) -> rules.Decision:
            now = self._wall()
            return rules.Decision(traffic_rules.set_split(model, alias, split, expected, available, now, principal))

        return await self._turns.take(self._change(name, alias, rule))

    async def set_shadow(
        self, name: str, alias: str, shadow: Shadow | None, expected: int | None, principal: str
    ) -> AliasTraffic:
        """See `traffic_rules.set_shadow`."""

        def rule(model: Model, alias: str, available: set[int]) -> rules.Decision:
            now = self._wall()
            return rules.Decision(traffic_rules.set_shadow(model, alias, shadow, expected, available, now, principal))

        return await self._turns.take(self._change(name, alias, rule))

    async def start_canary(
        self,
        name: str,
        alias: str,
        version: int,
        policy: CanaryPolicy,
        sticky_key: str,
        expected: int | None,
        principal: str,
    ) -> AliasTraffic:
        """See `canary_rules.start_canary`."""

        def rule(model: Model, alias: str, available: set[int]) -> rules.Decision:
            asked = version, policy, sticky_key, expected, available, self._wall(), principal
            return rules.Decision(canary_rules.start_canary(model, alias, *asked))

        return await self._turns.take(self._change(name, alias, rule))

    async def stop_canary(self, name: str, alias: str, promote: bool, principal: str) -> AliasTraffic:
        """End a canary before its time; the alias means its version then, or what it meant before."""

        def rule(model: Model, alias: str, available: set[int]) -> rules.Decision:
            words = f"by {principal}"
            if not promote:
                now = self._wall()
                stopped = canary_rules.end_canary(model, alias, CanaryState.STOPPED, words, now, principal)
                return rules.Decision(stopped)
            return self._promoted(model, alias, available, words, principal)

        return await self._turns.take(self._change(name, alias, rule))

    def _promoted(self, model: Model, alias: str, available: set[int], words: str, principal: str) -> rules.Decision:
        """The alias means the canary's version. Raises VersionNotAvailable."""
        canary, now = of_alias(model.settings.traffic, alias).running, self._wall()
        model = canary_rules.end_canary(model, alias, CanaryState.PROMOTED, words, now, principal)
        assert canary is not None  # or nothing could have been ended
        return rules.set_alias(model, alias, canary.version, canary.baseline, available, now, principal)

    async def _change(
        self, name: str, alias: str, rule: Callable[[Model, str, set[int]], rules.Decision]
    ) -> AliasTraffic:
        model, alias = self._catalogue.known(name), alias or STABLE
        decision = rule(model, alias, _available(self._catalogue.view(name)))
        view = await self._catalogue.settle(decision)
        return of_alias(view.settings.traffic, alias)

    def report(self, gateway: str, sequence: int, reports: Iterable[Report]) -> None:
        """Count what a gateway has counted, once; what is said of models or revisions that are no more is left out."""
        ledger = self._catalogue.ledger
        if not ledger.is_new(gateway, sequence):
            return
        for report in reports:
            model = self._catalogue.find(report.name)
            if model is not None and ledger.add(model, report, gateway, sequence):
                self._unshown.add(model.name)
                self._unsaved.add(model.name)

    async def tick(self) -> None:
        """Judge the canaries that run, and show and keep what was counted; to be called every second or so."""
        for model in self._catalogue.models():
            for traffic in model.settings.traffic:
                if traffic.running is not None and await self._turns.take(self._judge(model.name, traffic.alias)):
                    self._unshown.add(model.name)
        now = self._monotonic()
        if now - self._shown >= SHOW_S:
            self._shown = now
            unshown, self._unshown = self._unshown, set()
            for name in unshown:
                self._catalogue.show(name)
        if now - self._saved >= SAVE_S:
            self._saved = now
            for name in list(self._unsaved):
                self._unsaved.discard(name)
                await self._turns.take(self._save(name))

    async def _save(self, name: str) -> None:
        model = self._catalogue.known(name)
        await self._catalogue.settle(rules.Decision(replace(model, settings=self._catalogue.ledger.kept(model))))

    async def _judge(self, name: str, alias: str) -> bool:
        """Do with a canary what its figures say; whether there is something new to show."""
        model = self._catalogue.known(name)
        traffic = of_alias(model.settings.traffic, alias)
        canary = traffic.running
        if canary is None:
            return False  # somebody was faster
        view = self._catalogue.view(name)
        verdict = decide(canary, self._seen(model, view, traffic, canary), self._wall())
        if verdict.action is Action.HOLD:
            return self._catalogue.ledger.say(name, alias, verdict.words)
        try:
            decision = self._decided(model, alias, canary, _available(view), verdict)
        except VersionNotAvailable:
            return self._catalogue.ledger.say(name, alias, f"{verdict.words}; waits until it is AVAILABLE")
        self._catalogue.ledger.say(name, alias, "")
        await self._catalogue.settle(decision)
        log.warning("canary of %s@%s: %s: %s", name, alias, verdict.action.name.lower(), verdict.words)
        return True

    def _decided(
        self, model: Model, alias: str, canary: Canary, available: set[int], verdict: Verdict
    ) -> rules.Decision:
        who, now = f"canary of {canary.principal}"[:128], self._wall()
        if verdict.action is Action.ROLL_BACK:
            state = CanaryState.ROLLED_BACK
            return rules.Decision(canary_rules.end_canary(model, alias, state, verdict.words, now, who))
        if canary.policy.steps[canary.step + 1] >= 100:
            return self._promoted(model, alias, available, verdict.words, who)
        return rules.Decision(canary_rules.advance(model, alias, verdict.words, now, who))

    def _seen(self, model: Model, view: ModelView, traffic: AliasTraffic, canary: Canary) -> Seen:
        evidence = self._catalogue.ledger.of(model.name, traffic)
        compared = traffic.shadow is not None and traffic.shadow.version == canary.version
        lost = [v.load_error for v in view.versions if v.version.number == canary.version and v.state is State.END]
        return Seen(
            evidence.arm(canary.baseline),
            evidence.arm(canary.version),
            evidence.comparison(canary.baseline, canary.version) if compared else None,
            lost[0] if lost else "",
        )


def _available(view: ModelView) -> set[int]:
    return {v.version.number for v in view.versions if v.state is State.AVAILABLE}
