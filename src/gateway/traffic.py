"""Requests of aliases that have a split, a shadow or a canary: which version, who counts, what is mirrored."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..rpc.call import Call
from .figures import Figures, Outcome
from .question import Question
from .routing import Route
from .shadows import Shadows
from .splitting import Rules, chosen, key_of, mirrored
from .watched import Watched


class Traffic:
    """Chooses and watches. Belongs to the event loop; only requests of such aliases come here.

    Args:
        routes: the directory's, by model.
        figures: count how requests end.
        shadows: asks other versions.
        clock: the event loop's.
    """

    def __init__(
        self, routes: Mapping[str, Route], figures: Figures, shadows: Shadows, clock: Callable[[], float]
    ) -> None:
        self._routes = routes
        self._figures = figures
        self._shadows = shadows
        self._clock = clock

    def watched(self, question: Question, name: str, alias: str, call: Call, split_key: str) -> Watched:
        """The question to send in the place of a caller's; its key says where.

        Args:
            question: the caller's.
            name: the model.
            alias: one that has rules.
            call: which brought it.
            split_key: the question's own; empty: what the call's metadata say.
        """
        rules = self._routes[name].rules[alias]
        version = chosen(rules, key_of(rules, call.metadata, split_key, question.request_id))
        self._figures.arm(rules, version).pending += 1
        return Watched(question, rules, version, self._ended, self._clock)

    def chosen(self, name: str, alias: str, call: Call) -> tuple[Rules, int]:
        """The version for a request that is answered many times; `note` must be told how it ends."""
        rules = self._routes[name].rules[alias]
        version = chosen(rules, key_of(rules, call.metadata, "", call.request_id))
        self._figures.arm(rules, version).pending += 1
        return rules, version

    def note(self, rules: Rules, version: int, outcome: Outcome, seconds: float) -> None:
        """A request that is answered many times has ended; `seconds` until its first answer."""
        self._figures.arm(rules, version).add(outcome, seconds)

    def _ended(self, question: Watched, outcome: Outcome, response: bytes) -> None:
        rules, version = question.rules, question.key[1]
        self._figures.arm(rules, version).add(outcome, self._clock() - question.arrived)
        if outcome is Outcome.ANSWERED and mirrored(rules, version, question.request_id):
            self._shadows.mirror(question, response)
