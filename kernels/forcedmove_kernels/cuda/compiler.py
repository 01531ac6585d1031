"""The one translation unit and how it is compiled: what the launcher, the build checks and the host build share."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent
#: Ampere, Hopper, Blackwell: what the build checks compile for; at run time it is the device's own
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
#: bits must not depend on whether a multiplication and an addition are fused
OPTIONS = ("-std=c++17", "--fmad=false")
#: where most of the time goes: shared u32 adds that must be native instructions
HOT_KERNELS = ("fill_rows", "fill_grid")

_INCLUDE = re.compile(r'#include "(\w+\.cuh)"\n')


def unit() -> str:
    """Return ``kernels.cu`` with its headers in place: caches of compiled code know nothing of included files."""
    seen: set[str] = set()

    def expanded(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        text = f'#line 1 "{name}"\n'
        for number, line in enumerate((FOLDER / name).read_text().splitlines(keepends=True), 1):
            included = _INCLUDE.fullmatch(line)
            if included:
                text += expanded(included[1]) + f'#line {number + 1} "{name}"\n'
            elif line != "#pragma once\n":
                text += line
            else:
                text += "\n"
        return text

    return expanded("kernels.cu")


#: every kernel, in the order of the unit
KERNELS = tuple(re.findall(r"^KERNEL\((\w+), \w+\)", unit(), re.MULTILINE))
