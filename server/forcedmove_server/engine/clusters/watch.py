"""Follows clusters and chains from tick to tick, and logs what arms, triggers and comes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import LONG, SHORT
from forcedmove_server.config import ArmingConfig
from forcedmove_server.engine.clusters.arming import Arm, Candidate, Change, SideArming
from forcedmove_server.engine.clusters.cascades import CascadeRule, Move, SideMoves, levels_reached
from forcedmove_server.engine.clusters.events import ArmEvent, ClusterFacts, EventKind, Outcome
from forcedmove_server.engine.clusters.facts import cluster_facts
from forcedmove_server.engine.clusters.log import EventLog
from forcedmove_server.engine.clusters.observed import Observer, Seen, released
from forcedmove_server.engine.clusters.tracking import Run, Track, TrackingRule, follow
from forcedmove_server.engine.frames import SIDES, ChainInfo, SymbolMap
from forcedmove_server.engine.maps import SymbolState, shock_chain
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.scorecard.measures.cascades import CascadeAlarm, CascadeSeen
from forcedmove_server.scorecard.measures.reach import reach_probability

#: horizons for which events tell the probability of a touch
TOUCH_S = (300.0, 3_600.0, 86_400.0)
_SECOND_NS = 10**9
_NOTHING = ClusterFacts((), (), None)

#: the 95th percentile of what a side's chain from a shock fires, in USD; None where nobody can tell
TotalP95 = Callable[[SymbolState, float], float | None]
AlarmSink = Callable[[CascadeAlarm], None]
CascadeSink = Callable[[CascadeSeen], None]


@dataclass(slots=True)
class _Side:
    """What is remembered of one side of a symbol."""

    arming: SideArming
    moves: SideMoves
    tracks: tuple[Track, ...] = ()
    merged: dict[int, int] = field(default_factory=dict)
    #: of a cluster behind the nearest: its identity, when its chain was followed, and that chain
    looked: tuple[int, int, ChainInfo] | None = None
    facts: ClusterFacts = _NOTHING
    total_p95_usd: float | None = None
    #: what was seen in the tick before a chain was triggered, its levels, and the furthest that the mark went since
    before: Seen | None = None
    levels: tuple[float, ...] = ()
    floor_usd: float = math.nan
    floor_ns: int = 0

    @property
    def waits(self) -> bool:
        return self.arming.waits or self.moves.running


class ClusterWatch:
    """Belongs to the engine's thread, except for ``log``. Memory follows the number of symbols."""

    def __init__(
        self,
        pipeline: Pipeline,
        config: ArmingConfig,
        epoch: int,
        total_p95: TotalP95 | None = None,
        on_alarm: AlarmSink | None = None,
        on_cascade: CascadeSink | None = None,
    ) -> None:
        """``on_alarm`` is told of every arm once it has ended, ``on_cascade`` of every cascade that happened."""
        self.log = EventLog(epoch, config.kept_events)
        self._pipeline, self._config = pipeline, config
        self._total_p95, self._on_alarm, self._on_cascade = total_p95, on_alarm, on_cascade
        self._observer = Observer(pipeline)
        self._tracking = TrackingRule(config.cluster_share, config.hysteresis, round(config.dwell_s * _SECOND_NS))
        self._cascade = CascadeRule(
            round(config.cascade_window_s * _SECOND_NS),
            config.cascade_move_fraction,
            config.cascade_sigmas,
            config.cascade_released_share,
        )
        self._sides: dict[str, tuple[_Side, _Side]] = {}
        self._next_id = 1
        self._tick = 0

    def track(self, state: SymbolState) -> Mapping[tuple[int, int], int]:
        """Follow a symbol's clusters to its new state; return the identities of those that stand, by side and cell."""
        if not self._config.enabled:
            return {}
        ids: dict[tuple[int, int], int] = {}
        base = state.first_bin - 1  # bin of a cell, less the cell
        for side, own in enumerate(self._of(state.rows.symbol)):
            found, profile = state.clusters[side], state.profile[side]
            runs = [
                Run(begin + base, end + base, peak + base, notional)
                for begin, end, peak, notional in zip(
                    found.begin.tolist(), found.end.tolist(), found.peak.tolist(), found.notional.tolist(), strict=True
                )
            ]
            held = partial(_between, profile, base)
            now_ns = self._pipeline.newest_event_ns
            step = follow(own.tracks, runs, int(profile.sum()), held, now_ns, self._tracking, self._next_id)
            own.tracks, own.merged, self._next_id = step.tracks, dict(step.merged), step.next_id
            ids |= {(side, track.begin - base): track.id for track in step.tracks if track.standing}
        return ids

    def tick(
        self, states: Mapping[str, SymbolState], maps: Mapping[str, SymbolMap], changed: Collection[str], number: int
    ) -> None:
        """Take tick ``number`` of all symbols; those not ``changed`` are looked at where time alone matters."""
        if not self._config.enabled:
            return
        self._tick = number
        for symbol, symbol_map in maps.items():
            sides = self._of(symbol)
            if (symbol in changed or any(own.waits for own in sides)) and self._pipeline.mapped_markets(symbol):
                self._look(states[symbol], symbol_map, sides)

    def _of(self, symbol: str) -> tuple[_Side, _Side]:
        if symbol not in self._sides:
            self._sides[symbol] = (self._made(LONG), self._made(SHORT))
        return self._sides[symbol]

    def _made(self, side: int) -> _Side:
        return _Side(SideArming(side, self._config), SideMoves(side, self._cascade))

    def _look(self, state: SymbolState, symbol_map: SymbolMap, sides: tuple[_Side, _Side]) -> None:
        seen = self._observer.look(state.rows.symbol, state.rows.mark_usd)
        volume = state.law.volume_day_usd if state.volume_measured else None
        for side, own in enumerate(sides):
            chain = symbol_map.next_down if side == LONG else symbol_map.next_up
            candidates = list(self._candidates(state, side, own, chain))
            changes = own.arming.step(seen.time_ns, seen.low_usd, seen.high_usd, candidates, own.merged, volume)
            for change in changes:
                self._changed(state, side, own, change, seen)
            levels = self._expected(state, side, own, chain)
            move = own.moves.take(seen, state.law.sigma_day, levels, state.rows.bin_width_usd)
            self._settle(state, side, own, seen, move)
            arm = own.arming.arm
            if own.before is None or arm is None or arm.triggered_ns is None:
                own.before, own.levels = seen, levels

    def _candidates(self, state: SymbolState, side: int, own: _Side, nearest: ChainInfo | None) -> Iterator[Candidate]:
        """Yield clusters on the mark's way that may be armed, the nearest first: the armed one, or nearest and largest.

        ``nearest`` is the chain that the map already has.
        """
        arm = own.arming.arm
        if arm is not None and arm.triggered_ns is not None:
            return
        mark, base = state.rows.mark_usd, state.first_bin - 1
        mark_bin, last = state.cell(mark) + base, state.profile.shape[1] - 2
        reach = self._config.distance_fraction * self._config.hysteresis
        ahead: list[tuple[float, int, float, Track]] = []
        for track in own.tracks:
            cell = (track.end - 1 if side == LONG else track.begin) - base
            on_its_way = track.end <= mark_bin if side == LONG else track.begin > mark_bin
            if not (track.standing and on_its_way and 0 < cell <= last):
                continue
            edge = state.edge(cell + 1 if side == LONG else cell)
            distance = abs(edge / mark - 1)
            if distance <= reach:
                ahead.append((distance, cell, edge, track))
        ahead.sort(key=lambda item: item[0])
        if arm is not None:
            wanted = own.merged.get(arm.cluster, arm.cluster)
            ahead = [item for item in ahead if item[3].id == wanted]
        elif len(ahead) > 2:
            largest = max(ahead[1:], key=lambda item: item[3].notional)
            ahead = [ahead[0], largest]
        for distance, cell, edge, track in ahead:
            shock = state.edge(cell)
            if nearest is not None and nearest.shock_price_usd == shock:
                chain = nearest
            else:
                chain = self._chain(state, own, track, shock, arm is not None)
            yield Candidate(track, edge, distance, chain)

    def _chain(self, state: SymbolState, own: _Side, track: Track, shock: float, armed: bool) -> ChainInfo:
        """Return the chain of a cluster that is not the map's next one; it may be a second old, or half the dwell."""
        now_ns = self._pipeline.newest_event_ns
        if own.looked is not None:
            cluster, looked_ns, chain = own.looked
            age_ns = _SECOND_NS if armed else self._tracking.dwell_ns // 2
            if cluster == track.id and now_ns - looked_ns < age_ns:
                return chain
        chain = shock_chain(self._pipeline, state, shock)
        own.looked = track.id, now_ns, chain
        return chain

    def _expected(self, state: SymbolState, side: int, own: _Side, nearest: ChainInfo | None) -> tuple[float, ...]:
        """Levels that a move is held against: of the armed chain, else of the next, and clusters beyond its end."""
        arm = own.arming.arm
        chain = arm.latest.chain if arm is not None else nearest
        peaks = [state.edge(track.peak - state.first_bin + 1) for track in own.tracks if track.standing]
        mark = state.rows.mark_usd
        end = mark if chain is None else chain.terminal_price_usd
        beyond = [peak for peak in peaks if (peak < min(end, mark) if side == LONG else peak > max(end, mark))]
        return (*(level.trigger_price_usd for level in (chain.levels if chain else ())), *beyond)

    def _changed(self, state: SymbolState, side: int, own: _Side, change: Change, seen: Seen) -> None:
        arm = change.arm
        if change.kind in (EventKind.ARMED, EventKind.ESCALATED):
            base = state.first_bin - 1
            cluster = arm.latest.cluster
            own.facts = cluster_facts(self._pipeline, state, side, cluster.begin - base, cluster.end - base)
            shock = arm.latest.chain.shock_price_usd
            own.total_p95_usd = self._total_p95(state, shock) if self._total_p95 is not None else None
        if change.kind is EventKind.TRIGGERED:
            own.floor_usd, own.floor_ns = math.nan, seen.time_ns
        self._tell(state, side, own, change, seen)
        if change.kind in (EventKind.DISARMED, EventKind.EXPIRED):
            self._alarm(state, side, arm, seen.time_ns)

    def _settle(self, state: SymbolState, side: int, own: _Side, seen: Seen, move: Move | None) -> None:
        """Tell the scorecard of a cascade that is over, and resolve what was triggered once it is known what came."""
        symbol = state.rows.symbol
        if move is not None and move.cascade and self._on_cascade is not None:
            depth, total = move.levels, move.released.total
            self._on_cascade(CascadeSeen(symbol, side, move.began_ns, move.floor_usd, total, depth))
        arm = own.arming.arm
        if arm is None or arm.triggered_ns is None or own.before is None:
            return
        furthest = seen.low_usd if side == LONG else seen.high_usd
        if not (own.floor_usd <= furthest if side == LONG else own.floor_usd >= furthest):
            own.floor_usd, own.floor_ns = furthest, seen.time_ns
        waited_ns = seen.time_ns - arm.triggered_ns
        if move is None and (own.moves.running or waited_ns < self._cascade.window_ns):
            return
        if move is not None:
            left, floor, floor_ns, began = move.released, move.floor_usd, move.floor_ns, move.began_ns
        else:
            left, floor, floor_ns = released(own.before, seen, side), own.floor_usd, own.floor_ns
            began = arm.triggered_ns
        fell = move is not None and move.cascade
        cascade = fell and began >= arm.at_ns  # nobody was warned of a fall that was already going on
        outcome = Outcome(
            cascade=cascade,
            began_ns=began,
            ended_ns=seen.time_ns,
            floor_usd=floor,
            floor_ns=floor_ns,
            liquidated_usd=left.liquidated,
            released_usd=left.released,
            total_usd=left.total,
            levels=levels_reached(own.levels, floor, side, state.rows.bin_width_usd),
            lead_time_s=(began - arm.at_ns) / _SECOND_NS if cascade else None,
        )
        underway = "the cascade was already under way" if fell else "no cascade followed"
        reason = "a cascade followed" if cascade else underway
        self._tell(state, side, own, own.arming.resolve(reason), seen, outcome)
        self._alarm(state, side, arm, seen.time_ns)

    def _alarm(self, state: SymbolState, side: int, arm: Arm, until_ns: int) -> None:
        """Tell the scorecard of an arm that has ended, as it was announced first."""
        if self._on_alarm is not None:
            chain = arm.first.chain
            floor, total, depth = chain.terminal_price_usd, chain.total_usd, len(chain.levels)
            self._on_alarm(CascadeAlarm(state.rows.symbol, side, arm.at_ns, until_ns, floor, total, depth))

    def _tell(
        self, state: SymbolState, side: int, own: _Side, change: Change, seen: Seen, outcome: Outcome | None = None
    ) -> None:
        arm, seq = change.arm, self.log.next_seq
        arm.number = arm.number or seq
        latest, sigma_day = arm.latest, state.law.sigma_day
        cluster, distance = latest.cluster, latest.near_usd / seen.mark_usd - 1
        per_second = sigma_day / math.sqrt(86_400)
        reached = arm.triggered_ns is not None
        away = 0.0 if reached else abs(math.log(latest.near_usd / seen.mark_usd))
        self.log.append(
            ArmEvent(
                epoch=self.log.epoch,
                seq=seq,
                kind=change.kind,
                arm=arm.number,
                cluster=arm.cluster,
                symbol=state.rows.symbol,
                side=SIDES[side],
                time_ns=seen.time_ns,
                tick=self._tick,
                mark_usd=seen.mark_usd,
                price_low_usd=state.edge(cluster.begin - state.first_bin + 1),
                price_high_usd=state.edge(cluster.end - state.first_bin + 1),
                distance_fraction=distance,
                notional_usd=cluster.notional / 100,
                facts=own.facts,
                chain=latest.chain,
                volatility_day=sigma_day,
                touch=() if reached else tuple((h, float(reach_probability(away, per_second, h))) for h in TOUCH_S),
                reason=change.reason,
                total_p95_usd=own.total_p95_usd,
                outcome=outcome,
            )
        )


def _between(cents: NDArray[np.uint64], base: int, begin: int, end: int) -> int:
    """Sum of a profile between two absolute bins."""
    return int(cents[max(begin - base, 0) : max(end - base, 0)].sum())
