"""Recovery: finding and repairing what got stuck, lost or set aside.

`model` (values and rules), `dead_letters` (list and redrive), `reconcile` (stuck and lost events,
on a schedule), `compare` (the stores with each other, and lost silver documents), `api` (the
routes). Recovery may import replays, events, web, aws and core.
"""
