"""JSON Schemas of event types: putting and listing them (`api`, `manage`, `store`), compiling them
with a bound on their work (`compiler`, `bounds`), and the check at ingest (`check`).

It may import `web`, `aws` and `core`; ingest gets the check as a collaborator.
"""
