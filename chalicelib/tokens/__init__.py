"""API tokens: an admin issues, lists and revokes them; the authorizer checks each request's.

`model` is a token and its text, `store` the table, `manage` issues and checks, `api` has the
routes. May import `web`, `aws` and `core`; no other capability.
"""
