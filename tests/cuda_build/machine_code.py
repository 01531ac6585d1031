"""What ptxas says of each kernel and what its machine code does: registers, memory, spills, atomics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_FUNCTION = re.compile(r"Function properties for (\S+)$")
_FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")

#: a native add to shared memory: of any value, or of one (lanes are counted and added together)
SHARED_ADD = re.compile(r"ATOMS\.(ADD|POPC\.INC)(?!.*64)")
#: compare and swap, alone or in the loop that stands in for an atomic the hardware does not have
COMPARE_AND_SWAP = re.compile(r"ATOM[A-Z]*\.(?:.*\.)?CAST?(\.|$)")
#: load from and store to local memory: spilled registers, and arrays that are indexed at run time
LOCAL_MEMORY = re.compile(r"(LDL|STL)(\.|$)")


@dataclass(frozen=True, slots=True)
class Resources:
    """What one function takes, in bytes where nothing else is said."""

    registers: int
    shared: int
    stack: int
    spill_stores: int
    spill_loads: int


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of one architecture."""

    resources: Resources
    opcodes: tuple[str, ...]

    def matching(self, pattern: re.Pattern[str]) -> list[str]:
        """The opcodes that ``pattern`` matches from their beginning."""
        return [opcode for opcode in self.opcodes if pattern.match(opcode)]


def resources(log: str) -> dict[str, Resources]:
    """Per function, device functions that were not inlined included, from the log of ``ptxas -v``.

    ptxas names a function, then says its frame, then for kernels what it uses.
    """
    found: dict[str, Resources] = {}
    name = ""
    for line in log.splitlines():
        if function := _FUNCTION.search(line):
            name = function[1]
        elif frame := _FRAME.search(line):
            stack, stores, loads = map(int, frame.groups())
            found[name] = Resources(0, 0, stack, stores, loads)
        elif used := _USED.search(line):
            shared = _SHARED.search(line)
            known = found[name]
            found[name] = Resources(
                int(used[1]), int(shared[1]) if shared else 0, known.stack, known.spill_stores, known.spill_loads
            )
    return found


def kernels(log: str, functions: list[dict[str, Any]]) -> dict[str, Kernel]:
    """Join the log of ptxas and the functions of nvdisasm."""
    used = resources(log)
    return {
        function["function-name"]: Kernel(
            used[function["function-name"]],
            tuple(instruction["opcode"] for instruction in function["sass-instructions"]),
        )
        for function in functions
        if function["function-name"] in used
    }


def warnings(log: str) -> list[str]:
    """Lines in which the compiler or ptxas warns."""
    return [line for line in log.splitlines() if re.search(r"\bwarning\b", line, re.IGNORECASE)]
