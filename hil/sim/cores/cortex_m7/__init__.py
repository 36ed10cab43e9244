"""The Cortex-M7 core: function by unicorn, cycles and energy by a cost per basic block.

``core`` runs the emulator and keeps the books, ``native`` is the compiled part of it,
``schedule`` turns decoded instructions (``decode``) into cycles by the rules and constants of
``costs``, ``blocks`` keeps them by address, ``glue`` joins unicorn to the compiled part.
``art`` is the flash's ITCM port.
``exceptions`` enters and leaves handlers, ``nvic`` says which may run, ``system`` is the core's
own register space, ``bus`` finds peripherals, ``data_cache`` keeps the data cache's lines.

Accuracy: pipeline pairing and latencies follow published
measurements; the instruction cache and branch history are simulated (with a simpler predictor
than the real one); the data cache is an average stall a load, or simulated by lines; flash, bus
and barrier costs are assumptions named in ``costs``. Expect the order of 10 % on compute kernels,
more on code that lives from data-cache misses. Alignment faults of LDRD, LDM and VLDR are raised
where the data cache is simulated by lines.
"""
