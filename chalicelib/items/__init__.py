"""Items: an owner's JSON objects, and messages to the owner's channels when they change.

`model` is an item and its ETags, `store` the table and the large data in S3, `manage` what the item
routes do; `changes` puts a change into words, `notify` publishes it from the table's stream,
`subscriptions` are the channels; `api` has the routes. May import `web`, `aws` and `core`; no other
capability.
"""
