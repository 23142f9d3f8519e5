"""How a process of the command line begins, and what the machine it runs on is good at."""

import ctypes
import os
import platform

# by glibc's malloc.h: what mallopt is given, and the variables that its children read as they start
_SETTINGS = (
    (-4, "MALLOC_MMAP_MAX_", 0),  # no buffer is mapped anew: its pages would be faults, one by one
    (-1, "MALLOC_TRIM_THRESHOLD_", 2**31 - 1),  # up to 2 GiB of what was freed last are kept
)
_OTHERS = ("GLIBC_TUNABLES", "LD_PRELOAD", *(variable for _, variable, _ in _SETTINGS))


def begin_process() -> None:
    """Keep freed memory for the next step, in this process and its children; skip CUDA where there is none.

    Large buffers that are mapped and returned every step cost more in page faults than their arithmetic
    (docs/results.md). Only where glibc allocates, and nobody has chosen otherwise: PSST_ALLOCATOR=system, or
    a variable that the allocator reads, leaves it as it is.
    """
    chosen = os.environ.get("PSST_ALLOCATOR") == "system" or any(map(os.environ.get, _OTHERS))
    if platform.libc_ver()[0] == "glibc" and not chosen:
        library = ctypes.CDLL(None)
        for parameter, variable, value in _SETTINGS:
            library.mallopt(parameter, value)
            os.environ[variable] = str(value)
    if platform.system() == "Linux" and not _loads("libcuda.so.1"):
        # an optimizer asks each step whether there is a device, and with Lightning that loads a library
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


def has_fast_bf16(device_type: str) -> bool:
    """Return whether the device multiplies bfloat16 itself; elsewhere it is slower than float32."""
    import torch

    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device_type == "cpu" and bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
