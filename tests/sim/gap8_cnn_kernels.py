"""The byte kernels of the vendor's CNN benchmark for GAP8, as our own programs for the cluster.

After gap_sdk, benchmarks/gap8/cnn/AllTest.c (read, not copied): the same loops over the same
shapes, all data in L1, a column of outputs at a time, the convolution and the linear layer added to
what their output holds. Its compiler is not available, so the loops are written by hand: hardware
loops, every pointer advanced by its own load or store, except where a source line unrolls a row of
taps (scalar convolution, linear layer): there the taps are offsets and an addition advances the
pointer. That exception was made knowing the published cycles: without it these loops are 11 % to
25 % shorter.

Two things differ from the source. Its scalar convolution writes rows 100 bytes apart over its own
filter; here the filter lies elsewhere. And it forks by the vendor's runtime, here by the cluster's
dispatcher alone.
"""

from __future__ import annotations

from dataclasses import dataclass

POOL_IN, POOL_OUT = 112, 56
CONV_IN, CONV_OUT = 100, 96  # the vendor's report says 112: its label, not its loop
LINEAR_IN, LINEAR_OUT = 1024, 16
NORM = 6
CORES = 8

MEMORY = 0x10001000  # a byte array in L1: input, output behind it, filter
FILTER_OFFSET = 20480
MEMORY_BYTES = 40960
SEED = 0x2545F491


@dataclass(frozen=True)
class Kernel:
    """One kernel: ``body`` does columns (rows of a linear layer) s0 to s1 - 1.

    a2, a3, a4 hold input, output and filter. Cycles are counted by hand, stalls included:
    ``turn_cycles`` for a turn of the innermost loop, which takes ``turns`` turns in all, and
    ``entry_cycles`` for what surrounds it, each of the ``loops`` times it is entered.
    """

    name: str
    vector: bool
    columns: int
    out_bytes: int
    loops: int
    turns: int
    entry_cycles: float
    turn_cycles: float
    body: str

    @property
    def counted_cycles(self) -> float:
        """One core, by hand; without the call and what comes before the first column."""
        return self.turns * self.turn_cycles + self.loops * self.entry_cycles


def _loop(register: str, count: int, body: str) -> str:
    """A hardware loop of ``body``; its count goes through ``register``."""
    words = [
        line for line in body.replace(";", "\n").splitlines() if line.partition("#")[0].strip()
    ]
    # every line must be one word: no large constant is loaded in a body
    return f"li {register},{count}\nlp.setup x0,{register},{4 * len(words)}\n{body}\n"


def _columns(body: str) -> str:
    return f"1:\n{body}\naddi s0,s0,1\nbne s0,s1,1b\n"


def _pool(pointers: str, loads: str, operations: str) -> str:
    start = f"slli t0,s0,1; add t0,a2,t0; addi t1,t0,{POOL_IN}; add t2,a3,s0\n{pointers}"
    return start + _loop("t6", POOL_OUT, loads + operations + f"p.sb t3,{POOL_OUT}(t2!)")


_TWO_ROWS = 2 * POOL_IN
_FOUR_LOADS = "\n".join(
    f"p.lb {register},{_TWO_ROWS}({pointer}!)"
    for register, pointer in (("t3", "t0"), ("t4", "s2"), ("t5", "t1"), ("s4", "s3"))
)


def _scalar_pool(operations: str) -> str:
    return _pool("addi s2,t0,1; addi s3,t1,1\n", _FOUR_LOADS + "\n", operations)


def _vector_pool(operations: str) -> str:
    return _pool("", f"p.lh t3,{_TWO_ROWS}(t0!); p.lh t4,{_TWO_ROWS}(t1!)\n", operations)


_TAPS = (("a5", "a6"), ("a7", "s2"), ("s3", "s4"), ("s5", "s6"), ("s7", "s8"))


def _row_of_taps(count: int, filter_step: int, input_step: int) -> str:
    """Loads of all taps, then products; t3 filter, t4 input, t2 sum."""
    loads = [f"lb {a},{i}(t3)\nlb {b},{i}(t4)" for i, (a, b) in enumerate(_TAPS[:count])]
    products = [f"p.mac t2,{a},{b}" for a, b in _TAPS[:count]]
    steps = [f"addi t3,t3,{filter_step}", f"addi t4,t4,{input_step}"]
    # the last product does not follow the load of its tap
    return "\n".join([*loads, *products[:-1], *steps, products[-1]]) + "\n"


_CONV_ROW = _row_of_taps(5, 5, CONV_IN)
_SCALAR_CONV = (
    "add t0,a2,s0; add t1,a3,s0; li s10,5; li s9,96\n"
    "lp.setup x1,s9,100\n"  # 25 words: 5 before the inner loop, 17 in it, 3 behind it
    "lb t2,0(t1); mv t3,a4; mv t4,t0; slli t2,t2,6; lp.setup x0,s10,68\n"
    + _CONV_ROW
    + f"srai t2,t2,6; addi t0,t0,{CONV_IN}; p.sb t2,{CONV_IN}(t1!)\n"
)

_LINEAR = (
    "add t1,a3,s0; lb t2,0(t1); mv t4,a2; slli t3,s0,10; add t3,a4,t3; slli t2,t2,6\n"
    + _loop("t6", LINEAR_IN // 4, _row_of_taps(4, 4, 4))
    + "srai t2,t2,6; sb t2,0(t1)\n"
)

_VECTOR_LINEAR = (
    "add t1,a3,s0; lb t2,0(t1); mv t4,a2; slli t3,s0,10; add t3,a4,t3; slli t2,t2,6\n"
    + _loop("t6", LINEAR_IN // 8, "lw a5,0(t4); lw a6,0(t3); lw a7,4(t4); lw s2,4(t3)\n"
            "pv.sdotsp.b t2,a5,a6; addi t4,t4,8; addi t3,t3,8; pv.sdotsp.b t2,a7,s2")
    + "srai t2,t2,6; sb t2,0(t1)\n"
)  # fmt: skip

# Filter: rows in a5 a6 a7 t3 t4, last column in t5 t6. Window: rows s2 to s6, last column s7 s8.
_CONV_FILTER = """
lw a5,0(a4); lw a6,5(a4); lw a7,10(a4); lw t3,15(a4); lw t4,20(a4)
lb s2,4(a4); lb s3,9(a4); lb s4,14(a4); lb s5,19(a4); lbu t6,24(a4)
pv.packhi.b t5,s5,s4; pv.packlo.b t5,s3,s2
li s9,0x04030201
"""
_VECTOR_CONV = (
    "add t0,a2,s0; add t1,a3,s0\n"
    "p.lw s2,4(t0!); p.lb a0,96(t0!); p.lw s3,4(t0!); p.lb a1,96(t0!)\n"
    "p.lw s4,4(t0!); p.lb s8,96(t0!); p.lw s5,4(t0!); p.lb s10,96(t0!)\n"
    "pv.packlo.b s7,a1,a0; pv.packhi.b s7,s10,s8\n"
    + _loop("t2", CONV_OUT, """lb t2,0(t1); p.lw s6,4(t0!); p.lb s8,96(t0!); slli t2,t2,6
pv.sdotsp.b t2,s2,a5; pv.sdotsp.b t2,s3,a6; pv.sdotsp.b t2,s4,a7; pv.sdotsp.b t2,s5,t3
pv.sdotsp.b t2,s6,t4; pv.sdotsp.b t2,s7,t5; pv.sdotsp.b t2,s8,t6
mv s2,s3; mv s3,s4; mv s4,s5; mv s5,s6; pv.shuffle2.b s7,s8,s9; srai t2,t2,6; p.sb t2,96(t1!)""")
)  # fmt: skip

_MAX = "p.max t3,t3,t4; p.max t5,t5,s4; p.max t3,t3,t5\n"
_AVERAGE = "add t3,t3,t4; add t3,t3,t5; p.addn t3,t3,s4,2\n"
_VECTOR_MAX = "pv.max.b t3,t3,t4; pv.extract.b t4,t3,0; pv.extract.b t5,t3,1; p.max t3,t4,t5\n"
_VECTOR_AVERAGE = "pv.shuffle2.b t3,t4,s2; pv.dotsp.b t3,t3,s3; srai t3,t3,2\n"
_ONES = "li s2,0x05040100; li s3,0x01010101\n"
_POOLS = POOL_OUT * POOL_OUT
_CONVS = CONV_OUT * CONV_OUT
# An entry: addresses, the loop's set-up, a taken branch of three cycles. In three columns of four
# the vector convolution reads misaligned words: two cycles more here, one in the documents.
_SCALAR_POOL = (POOL_OUT, _POOLS, POOL_OUT, _POOLS, 12, 8)
_SCALAR_CONV_LOOPS = (CONV_OUT, CONV_IN * CONV_OUT, _CONVS, 5 * _CONVS, 8 + 9 / CONV_OUT, 17)
_LINEAR_SHAPE = (LINEAR_OUT, LINEAR_OUT, LINEAR_OUT)
KERNELS = (
    Kernel("max pool", False, *_SCALAR_POOL, _columns(_scalar_pool(_MAX))),
    Kernel("average pool", False, *_SCALAR_POOL, _columns(_scalar_pool(_AVERAGE))),
    Kernel("convolution", False, *_SCALAR_CONV_LOOPS, _columns(_SCALAR_CONV)),
    Kernel("linear", False, *_LINEAR_SHAPE, LINEAR_OUT * LINEAR_IN // 4, 14, 14, _columns(_LINEAR)),
    Kernel("max pool", True, POOL_OUT, _POOLS, POOL_OUT, _POOLS, 10, 7 + 1,
           _columns(_vector_pool(_VECTOR_MAX))),
    Kernel("average pool", True, POOL_OUT, _POOLS, POOL_OUT, _POOLS, 10, 6 + 1,
           _ONES + _columns(_vector_pool(_VECTOR_AVERAGE))),
    Kernel("convolution", True, CONV_OUT, _CONVS, CONV_OUT, _CONVS, 18 + 4 * 0.75 * 2,
           18 + 0.75 * 2, _CONV_FILTER + _columns(_VECTOR_CONV)),
    Kernel("linear", True, *_LINEAR_SHAPE, LINEAR_OUT * LINEAR_IN // 8, 14, 8,
           _columns(_VECTOR_LINEAR)),
)  # fmt: skip


def program(iterations: int, results: int) -> str:
    """All kernels, on one core and then on eight; two words for each go to ``results``.

    These are the cycles of ``iterations`` by the cluster's timer, after one run that warms the
    instruction cache, and a hash of the output after all of them. Every kernel starts with the same
    bytes in all of the memory.
    """
    rows = [
        _measured(kernel, index, parallel, iterations, results)
        for parallel in (False, True)
        for index, kernel in enumerate(KERNELS)
    ]
    kernels = [f"alone_{i}:\n{k.body}\nret\n" for i, k in enumerate(KERNELS)]
    kernels += [_shared(i, kernel) for i, kernel in enumerate(KERNELS)]
    return _START + "".join(rows) + "li a0,0\nj exit_program\n" + _FILL_AND_HASH + "".join(kernels)


# Core 0 is the master; the others wait for a function and its argument.
_START = """
fc_main:
    jal start_cluster
    li t0, 0x00204000
    sw zero, 0(t0)
    p.elw t1, 0x38(t0)
pe_main:
    li t0, 0x00204000
    li t1, 0x10000
    beqz a0, 1f
    li t1, 0x50000
1:  sw t1, 0(t0)
    beqz a0, master
worker:
    li t0, 0x00204080
    p.elw t1, 0(t0)
    p.elw a0, 0(t0)
    jalr t1
    jal barrier
    j worker
fork:                      # t1: function for all cores, the master among them
    mv s11, ra
    li t0, 0x00204080
    sw t1, 0(t0)
    sw zero, 0(t0)
    jalr t1
    jal barrier
    jr s11
master:
    li t0, 0x00204200
    li t1, 0xFF
    sw t1, 0(t0)
    sw t1, 0x0C(t0)
    li t0, 0x00204084
    sw t1, 0(t0)
    li t0, 0x10200400
    li t1, 1
    sw t1, 0(t0)
"""

_FILL_AND_HASH = f"""
fill:                      # the whole memory with bytes of a linear congruential generator
    li t0, {MEMORY}
    li t1, {MEMORY + MEMORY_BYTES}
    li t2, {SEED}
    li t3, 1664525
    li t4, 1013904223
1:  mul t2, t2, t3
    add t2, t2, t4
    sw t2, 0(t0)
    addi t0, t0, 4
    bne t0, t1, 1b
    ret
hash:                      # a0: FNV-1a of the bytes a0 to a1 - 1
    li t0, 2166136261
    li t1, 16777619
1:  lbu t2, 0(a0)
    xor t0, t0, t2
    mul t0, t0, t1
    addi a0, a0, 1
    bne a0, a1, 1b
    mv a0, t0
    ret
"""


def addresses(kernel: Kernel) -> tuple[int, int, int]:
    """Addresses of input, output and filter."""
    inputs = {"linear": LINEAR_IN, "convolution": CONV_IN**2}.get(kernel.name, POOL_IN**2)
    return MEMORY, MEMORY + inputs, MEMORY + FILTER_OFFSET


def _measured(kernel: Kernel, index: int, parallel: bool, iterations: int, results: int) -> str:
    """Fill, one run, the timed runs, hash: times and hash to the row's two words."""
    source, output, weights = addresses(kernel)
    if parallel:
        call = f"la t1,shared_{index}; jal fork"
    else:
        call = f"li a2,{source}; li a3,{output}; li a4,{weights}; li s0,0; li s1,{kernel.columns}\n"
        call += f"jal alone_{index}"
    row = results + 8 * (index + len(KERNELS) * parallel)
    return f"""
    jal fill
    {call}
    li t0, 0x10200408
    lw sp, 0(t0)
    li tp, {iterations}
2:  {call}
    addi tp, tp, -1
    bnez tp, 2b
    li t0, 0x10200408
    lw t1, 0(t0)
    sub t1, t1, sp
    li t0, {row}
    sw t1, 0(t0)
    li a0, {output}
    li a1, {output + kernel.out_bytes}
    jal hash
    li t0, {row + 4}
    sw a0, 0(t0)
"""


def _shared(index: int, kernel: Kernel) -> str:
    """The kernel on all cores: each takes its columns, then all wait for each other."""
    source, output, weights = addresses(kernel)
    return f"""
shared_{index}:
    mv gp, ra
    csrr t0, 0xF14
    andi t0, t0, 31
    li t1, {-(-kernel.columns // CORES)}
    li t2, {kernel.columns}
    mul s0, t0, t1
    add s1, s0, t1
    p.min s1, s1, t2
    li a2, {source}
    li a3, {output}
    li a4, {weights}
    {kernel.body}
    jal barrier
    jr gp
"""
