"""Measurements of Eventline: requests an event, cold start, archive size, speed on this machine.

`python -m benchmarks` (`make bench`) runs them all. They are never part of the tests.
"""
