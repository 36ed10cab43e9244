"""The vendor's CNN benchmark for GAP8: what it measured on the chip beside our programs' cycles.

gap_sdk, benchmarks/gap8/cnn/README.md: GAPuino at 1.2 V, FC 250 MHz, cluster 175 MHz, 100
iterations of each kernel on bytes, by the cluster's timer. Its compiler is not available, so the
loops are our own (gap8_cnn_kernels.py). Bounds: what two ways of compiling a loop differ by. Scalar
rows 10 %; in the vector rows a turn is 7 or 8 instructions, one more or less is 14 %: 15 %, on
eight cores, where one load more also meets seven others, 25 %.

Four rows of the report are not here: XNOR convolutions (bit fields, of no use to this bench), and
"pure RISC-V", for which it gives no cycles. ``pytest -s`` prints the table.
"""

from __future__ import annotations

import gap8_cnn_kernels
import pytest
from gap8_cnn_kernels import KERNELS, Kernel
from gap8_cnn_reference import expected_hash
from gap8_program import assemble
from xpulp_assembler import translate

from hil.sim.chip import Stop
from hil.sim.socs.gap8 import Gap8

RESULTS = 0x1C070000
RUNS = 2
PUBLISHED_ITERATIONS = 100
# Cycles of 100 iterations, in the order of KERNELS: one core, eight cores.
PUBLISHED = (
    (2573762, 2573659, 92241320, 5765099, 2864082, 2249276, 17741015, 1465880),
    (382837, 380589, 12810568, 790475, 355563, 332328, 2281309, 223484),
)
WITHIN = {(False, 1): 0.10, (False, 8): 0.10, (True, 1): 0.15, (True, 8): 0.25}
ROWS = [(kernel, cores) for cores in (1, 8) for kernel in KERNELS]
IDS = [f"{kernel.name}-{'vector' if kernel.vector else 'scalar'}-{n}" for kernel, n in ROWS]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[float, int]]:
    """Cycles of one iteration and the hash of the output, for each of ROWS; prints the table."""
    source = translate(gap8_cnn_kernels.program(RUNS, RESULTS))
    chip = Gap8()
    chip.load_elf(assemble(tmp_path_factory.mktemp("cnn"), source))
    assert chip.run(0.5) is Stop.EXITED, chip.fault
    words = chip.peek_words(RESULTS, 2 * len(ROWS)).tolist()
    rows = [(cycles / RUNS, value) for cycles, value in zip(words[::2], words[1::2], strict=True)]
    print(f"\n{'row':<24}{'a turn':>8}{'ours':>12}{'published':>12}{'difference':>12}")
    for name, (kernel, cores), (ours, _) in zip(IDS, ROWS, rows, strict=True):
        published = _published(kernel, cores)
        print(
            f"{name:<24}{kernel.turn_cycles:>8g}{ours:>12.0f}{published:>12.0f}"
            f"{100 * (ours / published - 1):>+10.1f} %"
        )
    return rows


def _published(kernel: Kernel, cores: int) -> float:
    """Cycles of one iteration."""
    return PUBLISHED[cores == 8][KERNELS.index(kernel)] / PUBLISHED_ITERATIONS


@pytest.mark.parametrize("index", range(len(ROWS)), ids=IDS)
def test_a_row_of_the_vendors_report(measured: list[tuple[float, int]], index: int) -> None:
    kernel, cores = ROWS[index]
    within = WITHIN[kernel.vector, cores]
    assert measured[index][0] == pytest.approx(_published(kernel, cores), rel=within)


@pytest.mark.parametrize("index", range(len(ROWS)), ids=IDS)
def test_every_kernel_computes_what_numpy_does(
    measured: list[tuple[float, int]], index: int
) -> None:
    """All runs of it, one upon the other: the convolution and the linear layer accumulate."""
    kernel, _ = ROWS[index]
    assert measured[index][1] == expected_hash(kernel, runs=1 + RUNS)


@pytest.mark.parametrize("index", range(len(KERNELS)), ids=IDS[: len(KERNELS)])
def test_one_core_takes_what_its_loop_is_counted_by_hand(
    measured: list[tuple[float, int]], index: int
) -> None:
    kernel, _ = ROWS[index]
    assert measured[index][0] == pytest.approx(kernel.counted_cycles, rel=0.003)
