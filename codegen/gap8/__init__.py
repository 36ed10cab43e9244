"""Kernels for GAP8: eight cluster cores with dot products, tiles in L1, one DMA."""
