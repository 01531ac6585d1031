"""Known accounts replayed fill by fill, and the liquidation prices that follow held against what was liquidated.

What the ledger lacks is not made up: fees, funding, positions opened before it begins and margin set aside for isolated
positions are not in it, and the mark between two fills is taken to be the last fill of anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.traded_account import TradedAccount
from forcedmove_server.scorecard.ledger import Event, Fill, Ledger, LedgerLiquidation, Transfer

#: a position may be opened with less equity than its initial margin by this share and these USD: prices move meanwhile
_SLACK, _SLACK_USD = 0.02, 0.5
#: an alarm shorter than this was one print
LASTING_NS = 60 * 10**9


@dataclass(frozen=True, slots=True)
class JudgedLiquidation:
    """A liquidation that happened, and what the replay had said of the account just before.

    ``complete``: whether the account never opened a position for which the replay has too little money, which proves
    that something of it is not in the ledger. ``known_since_ns`` is its last own event. The rest is None where the
    account had no single position: ``mark_usd`` is the notional told over the quantity held, ``predicted_usd`` the
    replay's liquidation price. Errors are in basis points of the mark; ``price_error_bp`` is positive where the mark
    had passed the predicted price. ``equity_error_bp`` is the replay's equity less that told, over notional, and
    ``rule_error_bp`` the error that is left of the price with the equity told: what margin rule and jumps of the mark
    account for. ``alarmed``: the replay's account was below its requirement at the last fills' prices already.
    """

    told: LedgerLiquidation
    complete: bool
    known_since_ns: int | None
    positions: int
    alarmed: bool
    market: str | None = None
    mark_usd: float | None = None
    predicted_usd: float | None = None
    price_error_bp: float | None = None
    equity_error_bp: float | None = None
    rule_error_bp: float | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """A time during which a replayed account was below its requirement. ``outcome``: liquidated, recovered or open."""

    account: str
    complete: bool
    begin_ns: int
    end_ns: int
    outcome: str
    notional_usd: float

    @property
    def lasting(self) -> bool:
        """Whether it was more than a single print."""
        return self.end_ns - self.begin_ns >= LASTING_NS


@dataclass(frozen=True, slots=True)
class LedgerStudy:
    """What a replay came to. ``exposed_days`` is the time in days that accounts had positions, summed."""

    accounts: int
    incomplete: int
    exposed_days: float
    liquidations: tuple[JudgedLiquidation, ...]
    alarms: tuple[Alarm, ...]

    def priced(self, complete: bool = True) -> list[JudgedLiquidation]:
        """Liquidations of cross-margined accounts with one position; ``complete``: of complete accounts only."""
        return [
            one
            for one in self.liquidations
            if one.price_error_bp is not None and not one.told.isolated and (one.complete or not complete)
        ]

    def within(self, bp: float, complete: bool = True) -> int:
        """How many of :meth:`priced` were foretold to ``bp`` basis points."""
        return sum(abs(one.price_error_bp) <= bp for one in self.priced(complete) if one.price_error_bp is not None)


def judge_ledger(ledger: Ledger, rule_of: Callable[[str], MarginRule]) -> LedgerStudy:
    """Replay a ledger; ``rule_of`` gives a market's margin rule."""
    replay = _Replay(ledger, rule_of)
    for event in ledger.events:
        replay.take(event)
    return replay.result()


class _Replay:
    """All accounts at one moment."""

    def __init__(self, ledger: Ledger, rule_of: Callable[[str], MarginRule]) -> None:
        self._rule_of, self._rules = rule_of, dict[str, MarginRule]()
        self._accounts: dict[str, TradedAccount] = {}
        self._holders: dict[str, set[str]] = {}
        self._marks: dict[str, float] = {}
        self._touched: dict[str, int] = {}
        self._incomplete: set[str] = set()
        self._alarms: dict[str, tuple[int, float]] = {}
        self._ended: list[Alarm] = []
        self._judged: list[JudgedLiquidation] = []
        self._forced = {(e.account, e.time_ns) for e in ledger.events if isinstance(e, LedgerLiquidation)}
        self._exposed_since: dict[str, int] = {}
        self._exposed_ns = 0
        self._now_ns = 0

    def take(self, event: Event) -> None:
        self._now_ns = event.time_ns
        account = self._accounts.setdefault(event.account, TradedAccount())
        if isinstance(event, LedgerLiquidation):
            self._judged.append(self._judge(event, account))
            return
        if isinstance(event, Transfer):
            account.transfer(event.usd)
            self._look(event.account)
        else:
            self._fill(event, account)
        self._touched[event.account] = event.time_ns

    def result(self) -> LedgerStudy:
        for name in list(self._alarms):
            self._end_alarm(name, "open")
        for since in self._exposed_since.values():
            self._exposed_ns += self._now_ns - since
        return LedgerStudy(
            accounts=len(self._accounts),
            incomplete=len(self._incomplete),
            exposed_days=self._exposed_ns / 86_400e9,
            liquidations=tuple(self._judged),
            alarms=tuple(sorted(self._ended, key=lambda alarm: (alarm.begin_ns, alarm.account))),
        )

    def _fill(self, event: Fill, account: TradedAccount) -> None:
        market, forced = event.market, (event.account, event.time_ns) in self._forced
        if market not in self._rules:
            self._rules[market] = self._rule_of(market)
        before = abs(account.quantity.get(market, 0.0))
        account.fill(market, event.quantity, event.price_usd)
        holders = self._holders.setdefault(market, set())
        if market in account.quantity:
            holders.add(event.account)
        else:
            holders.discard(event.account)
        self._note_exposure(event.account, account)
        if forced:
            # it was filled at the price that leaves nothing, not at the market's
            if event.account in self._alarms:
                self._end_alarm(event.account, "liquidated")
            return
        self._marks[market] = event.price_usd
        if abs(account.quantity.get(market, 0.0)) > before and not self._affords(account):
            self._incomplete.add(event.account)
        for name in sorted(holders | {event.account}):
            self._look(name)

    def _affords(self, account: TradedAccount) -> bool:
        """Whether the replay has the initial margin of what was just opened."""
        needed = sum(
            abs(quantity) * self._marks[market] / self._rules[market].leverage_limit
            for market, quantity in account.quantity.items()
        )
        return account.equity(self._marks) >= needed * (1 - _SLACK) - _SLACK_USD

    def _look(self, name: str) -> None:
        """Begin or end an account's alarm."""
        account = self._accounts[name]
        below = bool(account.quantity) and self._below(account)
        if below and name not in self._alarms:
            self._alarms[name] = (self._now_ns, account.notional(self._marks))
        elif not below and name in self._alarms:
            self._end_alarm(name, "recovered")

    def _below(self, account: TradedAccount) -> bool:
        equity = account.equity(self._marks)
        most = max(1 / self._rules[market].leverage_limit for market in account.quantity)
        # maintenance is never above the initial margin, which is quicker to tell
        return equity < account.notional(self._marks) * most and equity < account.requirement(self._marks, self._rules)

    def _end_alarm(self, name: str, outcome: str) -> None:
        begin_ns, notional = self._alarms.pop(name)
        complete = name not in self._incomplete
        self._ended.append(Alarm(name, complete, begin_ns, self._now_ns, outcome, notional))

    def _note_exposure(self, name: str, account: TradedAccount) -> None:
        if account.quantity:
            self._exposed_since.setdefault(name, self._now_ns)
        elif name in self._exposed_since:
            self._exposed_ns += self._now_ns - self._exposed_since.pop(name)

    def _judge(self, told: LedgerLiquidation, account: TradedAccount) -> JudgedLiquidation:
        complete, since = told.account not in self._incomplete, self._touched.get(told.account)
        alarmed, positions = told.account in self._alarms, len(account.quantity)
        if positions != 1:
            return JudgedLiquidation(told, complete, since, positions, alarmed)
        ((market, quantity),) = account.quantity.items()
        side, mark = np.sign(quantity), told.notional_usd / abs(quantity)
        marks = {market: mark}
        predicted = account.liquidation_price(market, marks, self._rules)
        as_told = TradedAccount(told.equity_usd - quantity * mark, dict(account.quantity))
        by_rule = as_told.liquidation_price(market, marks, self._rules)
        return JudgedLiquidation(
            told,
            complete,
            since,
            positions,
            alarmed,
            market=market,
            mark_usd=mark,
            predicted_usd=predicted,
            price_error_bp=float(side * (predicted / mark - 1) * 1e4),
            equity_error_bp=(account.equity(marks) - told.equity_usd) / told.notional_usd * 1e4,
            rule_error_bp=float(side * (by_rule / mark - 1) * 1e4),
        )
