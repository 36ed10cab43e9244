"""Smaller networks of the same kind: width multiplier, AMC, MetaPruning, structured pruning."""
