"""The STM32F746 of a Nucleo-F746ZG, simulated: see :mod:`.soc`."""

from hil.sim.socs.stm32f7.soc import Stm32F746

__all__ = ["Stm32F746"]
