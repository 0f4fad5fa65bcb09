"""Signed webhooks: `POST /webhooks/{source}` makes an event of each delivery.

`sources` is the table of senders, `signatures` verifies what they sign, `digests` knows a body
again, `receive` checks and ingests a delivery, `api` has the route. May import `events`, `web`,
`aws` and `core`.
"""
