"""Alerts: messages on the CI queue become Slack messages, equal ones one message.

`model` reads a message, `groups` finds equal alerts, `store` has their table, `slack` posts,
`send` works off the queue, `relay` puts CloudWatch's alarms on it, `api` lists the groups. May
import `web`, `aws`, `outbound` and `core`; no other capability.
"""
