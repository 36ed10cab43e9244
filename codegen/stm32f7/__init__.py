"""Kernels for the STM32F746: one Cortex-M7, two 16-bit products an instruction (SMLAD)."""
