"""What a map says of the rules behind it: stand-ins, old tables, odd markets and a user's own tables."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from forcedmove_client.cli import main
from forcedmove_server.config import Config, EngineConfig, MarginConfig, ModelConfig
from forcedmove_server.engine.assumptions import assumptions
from forcedmove_server.engine.maps import symbol_states
from forcedmove_server.engine.margins import margin_info
from forcedmove_server.engine.offline import OfflineRun
from forcedmove_server.engine.pipeline import configured_pipeline
from forcedmove_server.margin.facts import Confidence
from forcedmove_server.margin.ladders import Ladder, LadderFile, Tiers, write_ladders
from forcedmove_server.margin.multipliers import CROSS_WIDTH_SHARE, LEVERAGE_TIERS
from forcedmove_server.market.instruments import ContractType, Instrument, InstrumentRegistry
from forcedmove_server.sources.simulate import SimulatedSource, SimulationConfig

HOUR = SimulationConfig(seed=3, symbols=("BTC",), warmup_hours=0.5, duration_hours=0.5)


def run(tmp_path: Path, days: int = 90, width: float = 1.0) -> OfflineRun:
    margin = MarginConfig(tiers_dir=str(tmp_path / "tiers"), tiers_stale_after_days=days)
    config = Config(engine=EngineConfig(max_markets=16), margin=margin, model=ModelConfig(tier_width=width))
    done = OfflineRun(SimulatedSource(HOUR), config)
    done.finish()
    return done


def told(done: OfflineRun, symbol: str = "BTC") -> list[tuple[str, str]]:
    pipeline = done.pipeline
    pipeline.store.refresh(pipeline.now_s)
    state = symbol_states(pipeline, [symbol], pipeline.notional())[symbol]
    return [(a.name, a.text) for a in assumptions(pipeline, state)]


@pytest.mark.parametrize("width", [0.0, 1.0])
def test_each_market_says_how_it_liquidates_and_how_far_off_that_may_be(tmp_path: Path, width: float) -> None:
    done = run(tmp_path, width=width)
    registry = done.pipeline.registry
    for market in range(len(registry)):
        info = margin_info(done.pipeline, market)
        assert (info.formula[0] == "I") == (registry[market].contract_type is ContractType.INVERSE)
        assert info.source
        assert 0 <= info.error_bp < 100
        assert [tier.leverage for tier in info.multipliers] == list(LEVERAGE_TIERS[: len(info.multipliers)])
        for tier in info.multipliers:
            assert tier.ratio[0] < 1 < tier.ratio[1]
            assert max(tier.error_bp) <= info.error_bp
            assert tier.cross_width == pytest.approx([CROSS_WIDTH_SHARE * abs(1 - ratio) for ratio in tier.ratio])
        # The levels the kernels use lie around these ratios, to half a unit of their fixed point.
        used = done.pipeline.store.rules.multiplier[market, :, :, : len(info.multipliers)] / 2.0**28
        ratios = np.array([tier.ratio for tier in info.multipliers]).T
        if width == 0:
            assert np.all(np.abs(used - ratios[:, None]) <= 0.5 / 2**28)
            continue
        least, most = used.min(1), used.max(1)
        for side, (lower, higher) in enumerate(((least, most), (most, least))):
            assert np.all((ratios[side] - lower[side]) * (1 - 2 * side) > 0), "levels of less leverage than the tier's"
            # Those of more do not exist where the tier is the market's greatest leverage.
            assert np.all((higher[side] - ratios[side])[:-1] * (1 - 2 * side) > 0)
    names = dict(told(done))
    assert "basis points" in names["multiplier_error"]
    assert "for a day" in names["isolated_margin"]
    assert "spread over this share" in names["tier_width"]


def test_old_tables_are_visible_and_what_counts_as_old_is_configured(tmp_path: Path) -> None:
    old = [text for name, text in told(run(tmp_path, days=1)) if name == "margin_tiers"]
    assert any(text.startswith("binance:BTCUSDT: shipped table of 2026-09-29") and "(stale)" in text for text in old)
    assert not [text for name, text in told(run(tmp_path, days=3_000)) if name == "margin_tiers"]


def test_a_users_table_is_used_and_the_summary_says_so(tmp_path: Path) -> None:
    before = run(tmp_path).summary()["markets"]["binance:BTCUSDT"]["margin"]
    assert (before["formula"], before["tiers"].partition(",")[0]) == ("L1", "shipped table of 2026-09-29")
    ladder = Ladder(["BTC/USDT:USDT"], Tiers([(0.0, 0.02, 25.0)]))
    own = LadderFile("binance", date(2026, 10, 4), Confidence.DOC, "s", [ladder])
    write_ladders(own, tmp_path / "tiers" / "binance.json")
    after = run(tmp_path).summary()["markets"]["binance:BTCUSDT"]["margin"]
    assert (after["max_leverage"], after["tiers"].partition(",")[0]) == (25.0, "imported table of 2026-10-04")
    assert len(after["multipliers"]) == 8


def test_odd_markets_do_not_end_a_server() -> None:
    """An undescribed venue, a market without a ladder, a kind of contract that the venue is not known to list."""
    registry = InstrumentRegistry()
    pipeline = configured_pipeline(registry, Config(engine=EngineConfig(max_markets=16)))
    pipeline.now_ns = int(datetime(2026, 10, 5, tzinfo=UTC).timestamp()) * 10**9
    plain = Instrument("okx", "NOSUCH-USDT-SWAP", "NOSUCH", "USDT")
    odd = [
        plain,
        replace(plain, venue="nowhere"),
        replace(plain, venue="hyperliquid", quote="USD", contract_type=ContractType.INVERSE),
        replace(plain, venue="binance", quote="USD", contract_type=ContractType.INVERSE, max_leverage=1.0),
    ]
    for market, instrument in enumerate(odd):
        registry.add(instrument)
        pipeline.store.add_market(market, instrument, 1.0)
        info = margin_info(pipeline, market)
        assert info.assumed or info.confidence == "ASSUMED"
        assert np.isfinite(info.error_bp)
        json.dumps(info.tiers, allow_nan=False)


def test_a_replay_tells_which_ladders_it_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording, summary = tmp_path / "recording", tmp_path / "summary.json"
    assert main(["record", "--hours", "1", "--seed", "3", "--symbols", "BTC", "--output", str(recording)]) == 0
    assert main(["replay", "--input", str(recording), "--summary", str(summary)]) == 0
    capsys.readouterr()
    margin = json.loads(summary.read_text())["markets"]["okx:BTC-USDT-SWAP"]["margin"]
    assert (margin["formula"], margin["confidence"]) == ("L2", "CODE")
    assert "2026-09-18" in margin["tiers"]
