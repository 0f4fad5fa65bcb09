"""HTTP that goes out to addresses of others: webhooks of destinations, and Slack. It may import
`core`.

`address` says what may be called, `connect` makes connections to nothing else, `send` makes one
attempt and says how it ended. What follows from that is the capability's.
"""
