"""Arm semihosting, as far as it ends a program: SYS_EXIT and SYS_EXIT_EXTENDED."""

from __future__ import annotations

from collections.abc import Callable

SYS_EXIT, SYS_EXIT_EXTENDED, STOPPED_APPLICATION_EXIT = 0x18, 0x20, 0x20026


def exit_code(operation: int, argument: int, read_word: Callable[[int], int]) -> int | None:
    """The exit code of the call with r0 and r1 as given; None when it is no exit."""
    if operation == SYS_EXIT:
        return 0 if argument == STOPPED_APPLICATION_EXIT else 1
    if operation == SYS_EXIT_EXTENDED:
        reason, code = read_word(argument), read_word(argument + 4)
        return code if reason == STOPPED_APPLICATION_EXIT else 1
    return None
