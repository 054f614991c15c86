"""The bounds of the claim's cost, on the largest machine that is promised."""

from __future__ import annotations

from pathlib import Path

from bench.claim import CLAIM_BOUND, LARGEST, PLACE_BOUND, build, measure


def test_a_claim_on_the_largest_machine_takes_a_millisecond(tmp_path: Path) -> None:
    program = build(tmp_path)
    took = measure(program, LARGEST)
    assert took["claim"] <= CLAIM_BOUND
    assert max(took["place"], took["place_without_gpus"]) <= PLACE_BOUND


def test_cost_grows_at_most_with_cores_times_claimants(tmp_path: Path) -> None:
    program = build(tmp_path)
    small = measure(program, (8, 128, 1, 16, 32))["claim"]
    large = measure(program, (64, 1024, 1, 16, 256))["claim"]
    # 64 times the cores and claimants together; half as much again for what else the host does.
    assert large <= 1.5 * 64 * small
