"""What this process holds."""


def memory(which: str) -> int | None:
    """Its memory now (VmRSS), or the most that it has held at a time (VmHWM), in bytes, as Linux tells it."""
    try:
        with open("/proc/self/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith(f"{which}:"))
    except (OSError, StopIteration):
        return None
