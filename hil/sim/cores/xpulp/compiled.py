"""How the engine's functions are compiled: without counting references to arrays.

They get arrays from their callers and make none. numba would count a reference to each array at
each call and each return; in the engine's inner loop that takes as long as the work itself. An
entry for callers in C, which nobody is, would only take time to compile.
"""

from __future__ import annotations

import functools
from typing import Any

import numba

inner: Any = functools.partial(numba.njit, _nrt=False, no_cfunc_wrapper=True)
inlined: Any = functools.partial(inner, forceinline=True)  # becomes a part of its callers
