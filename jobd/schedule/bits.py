"""Sets of small numbers as the bits of an int: bit n is set where n is a member.

A minute field is then one int of 60 bits, and "the next minute from 17 on" one shift and one mask.
"""

from __future__ import annotations

from collections.abc import Iterable


def bits(numbers: Iterable[int]) -> int:
    """The set of `numbers`."""
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


def members(mask: int) -> list[int]:
    """The numbers of the set, ascending."""
    return [number for number in range(mask.bit_length()) if mask >> number & 1]


def first_from(mask: int, start: int) -> int:
    """The smallest member that is `start` or more, -1 where there is none; `start` is 0 or more."""
    rest = mask >> start
    return start + (rest & -rest).bit_length() - 1 if rest else -1
