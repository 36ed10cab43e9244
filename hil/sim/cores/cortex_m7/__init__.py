"""The Cortex-M7 core: function by unicorn, cycles and energy by a cost per basic block."""
