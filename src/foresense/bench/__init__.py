"""Measuring exported files: a plan, a worker in a fresh process, one module per way of reaching a device.

This module imports nothing: the worker is started below it, and whatever is imported here would count as its memory.
"""
