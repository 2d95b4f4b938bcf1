#!/usr/bin/env python3
"""Writes zones.tsv: when the clocks of some zones changed, as Python's zoneinfo tells it.

    python3 -m venv venv && venv/bin/pip install tzdata==2026.6 && venv/bin/python zones.py > zones.tsv

Each line is a zone, its offset from UTC in seconds at the first second of the table, and its changes: how
many seconds after the one before (the first: after the table's first second), and the offset from then on.
"""

import datetime
import zoneinfo

import tzdata

zoneinfo.reset_tzpath(to=[])  # the package's, not the machine's

FIRST = datetime.datetime(1899, 12, 30, tzinfo=datetime.timezone.utc)
LAST = datetime.datetime(2262, 4, 14, tzinfo=datetime.timezone.utc)
STEP = datetime.timedelta(hours=6)
SECOND = datetime.timedelta(seconds=1)

# Half hours and quarters, changes at midnight, whole days left out, clocks that go back in summer, offsets
# with seconds, rules that follow the moon, one rule for ever, none at all.
ZONES = """
Africa/Cairo Africa/Casablanca Africa/Monrovia America/Asuncion America/Caracas America/Metlakatla
America/New_York America/Nuuk America/Santiago America/Sao_Paulo America/St_Johns Antarctica/Troll
Asia/Gaza Asia/Kathmandu Asia/Kolkata Asia/Manila Asia/Pyongyang Asia/Tehran Asia/Tokyo
Australia/Adelaide Australia/Lord_Howe Etc/GMT+12 Europe/Amsterdam Europe/Dublin Europe/London
Europe/Moscow Pacific/Apia Pacific/Chatham Pacific/Kiritimati Pacific/Kwajalein UTC
""".split()


def offset(zone, instant):
    return int(instant.astimezone(zone).utcoffset().total_seconds())


def changes(zone):
    """The instants at which the offset changes, each with the offset from then on."""
    before = FIRST
    while before < LAST:
        after = before + STEP
        if offset(zone, before) != offset(zone, after):
            low, high = before, after
            while high - low > SECOND:
                middle = low + (high - low) // SECOND // 2 * SECOND
                if offset(zone, middle) == offset(zone, before):
                    low = middle
                else:
                    high = middle
            yield high, offset(zone, high)
        before = after


print(f"# IANA time zone database {tzdata.IANA_VERSION}, written by zones.py")
print(f"# from {int(FIRST.timestamp())} to {int(LAST.timestamp())}")
for name in ZONES:
    zone = zoneinfo.ZoneInfo(name)
    fields, last = [name, str(offset(zone, FIRST))], FIRST
    for instant, after in changes(zone):
        fields.append(f"{(instant - last) // SECOND}:{after}")
        last = instant
    print("\t".join(fields))
