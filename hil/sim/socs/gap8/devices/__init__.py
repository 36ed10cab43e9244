"""Devices of the GAP8 in plain Python; they are no part of the engine's compiled code.

Numba's cache key covers the engine's folder and not this one: a change here recompiles nothing.
"""
