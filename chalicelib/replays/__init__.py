"""Replays: processing events again from bronze, as new events that name the first.

`model` (values and rules), `store` (bulk replays in the ledger's table), `start` (replay one event;
count, start, read, abort a bulk replay), `steps` (the worker's steps, and restarts), `api` (the
routes). Replays may import events, web, aws and core.
"""
