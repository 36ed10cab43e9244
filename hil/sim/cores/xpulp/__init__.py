"""The RI5CY core of GAP8: RV32IMC with the Xpulp extension; results computed under numba.

This package knows instructions (``decode``), their results (``scalar``, ``simd``) and their
cycles (``timing``). It knows no memory map: the chip's engine (``hil.sim.socs.gap8.engine``)
fetches, accesses memory and advances time.

Encodings: public binutils opcode table of the Xpulpv2/Xgap8 subsets; results: RI5CY user manual,
checked against vectors executed on the vendor simulator (tests/sim/data/xpulp_vectors.json).
"""
