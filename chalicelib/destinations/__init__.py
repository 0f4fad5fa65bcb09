"""Destinations: HTTPS endpoints of owners, and the delivery of each event that they subscribed to
as a signed webhook (ADR 0027). It may import `events`, `web`, `aws`, `outbound` and `core`.

`order` is what an owner asks for. `handover` runs in the worker, `deliver` in its own function,
`due` in the schedule. `health` judges destinations by their answers, `line` keeps the sequence
where one is asked for.
"""
