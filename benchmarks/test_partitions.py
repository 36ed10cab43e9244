"""Every device part on every board, timed as a whole without counter reads in between."""

from __future__ import annotations

from benchmarks.conftest import Bench, device_time, partition_samples_s, replay
from hil.core.network import Cut
from hil.measure.intervals import median_interval
from hil.measure.reconcile import Agreement, reconcile
from hil.measure.segments import prefix_energy_uj, segment_cycles


@device_time("partitions")
def test_partition(benchmark, bench: Bench, board: str, cut: Cut) -> None:
    bench.skip_unless_fits(board, cut.layers)
    table, samples_s = bench.table(board), partition_samples_s(bench, board, cut.layers)
    replay(benchmark, samples_s)
    macs = sum(bench.network.macs(i) for i in range(cut.layers))
    whole = median_interval([s * table.clock_hz for s in samples_s])
    check = reconcile(segment_cycles(table, 0, cut.layers), whole)
    energy = prefix_energy_uj(table, cut.layers)
    benchmark.extra_info.update(
        board=board,
        cut=cut.name,
        layers=cut.layers,
        cycles=whole.median,
        macs=macs,
        mac_per_cycle=macs / whole.median,
        energy_uj=energy.median if energy else None,
        layers_sum_difference_pct=check.difference_pct,
        provenance=table.provenance.to_dict(),
    )
    assert check.verdict is not Agreement.CONTRADICTS, str(check)
