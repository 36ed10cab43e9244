"""The STM32F746 and F767 of their Nucleo-144 boards, simulated: see :mod:`.soc`."""

from hil.sim.socs.stm32f7.soc import Stm32F746, Stm32F767

__all__ = ["Stm32F746", "Stm32F767"]
