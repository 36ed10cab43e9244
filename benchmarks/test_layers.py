"""Every layer on every board: its time by the board's own counter, its energy by the meter."""

from __future__ import annotations

from benchmarks.conftest import Bench, device_time, replay


@device_time("layers")
def test_layer(benchmark, bench: Bench, board: str, layer_index: int) -> None:
    bench.skip_unless_fits(board, layer_index + 1)
    table = bench.table(board)
    row = table.row(layer_index)
    replay(benchmark, [cycles / table.clock_hz for cycles in row.cycle_samples.values])
    benchmark.extra_info.update(
        board=board,
        layer=row.name,
        op=row.op,
        cycles=row.cycles.median,
        cycles_interval=[row.cycles.lo, row.cycles.hi],
        macs=row.macs,
        mac_per_cycle=row.macs / row.cycles.median,
        energy_uj=row.energy_uj.median if row.energy_uj else None,
        energy_uj_interval=[row.energy_uj.lo, row.energy_uj.hi] if row.energy_uj else None,
        provenance=table.provenance.to_dict(),
    )
    assert row.cycles.median > 0
    assert row.compute_cycles + row.copy_cycles <= row.cycles.hi
    assert row.energy_uj is not None and row.energy_uj.lo > 0
