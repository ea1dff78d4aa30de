"""Resident memory of this process."""

import psutil


def process_rss_mib() -> float:
    """What the process holds now, MiB."""
    return float(psutil.Process().memory_info().rss) / 2**20
