"""Eventline: events kept, processed once in effect, explained and replayed, in your own account."""

__version__ = "0.1.0"
