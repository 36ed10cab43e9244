"""Constant arrays as C text."""

from __future__ import annotations

import numpy as np

from codegen.backend import Constant
from hil.core.errors import PlanError

DTYPES = {
    "int8_t": np.int8,
    "uint8_t": np.uint8,
    "int16_t": np.int16,
    "uint16_t": np.uint16,
    "int32_t": np.int32,
    "uint32_t": np.uint32,
}
LINE = 96


def constant_text(constant: Constant) -> str:
    """The definition of a constant: 4-byte aligned, because kernels load bytes by words."""
    values = _checked(constant)
    rows = _rows([str(v) for v in values.tolist()])
    head = f"const {constant.c_type} {constant.name}[{len(values)}] __attribute__((aligned(4)))"
    return "\n".join([f"/* {constant.comment} */", f"{head} = {{", *rows, "};"])


def _checked(constant: Constant) -> np.ndarray:
    wanted = DTYPES.get(constant.c_type)
    if wanted is None or constant.values.dtype != wanted:
        raise PlanError(
            f"constant {constant.name}: {constant.values.dtype} values for C type "
            f"{constant.c_type}; known types: {', '.join(DTYPES)}"
        )
    if constant.values.size == 0:
        raise PlanError(f"constant {constant.name} is empty")
    return constant.values.ravel()


def _rows(numbers: list[str]) -> list[str]:
    rows: list[str] = []
    row = "   "
    for number in numbers:
        if len(row) + len(number) + 2 > LINE:
            rows.append(row)
            row = "   "
        row += f" {number},"
    return [*rows, row]
