"""Uploads: clients send files straight to S3, and every created object is recorded.

`model` has the values and reads S3's notifications, `store` the bucket and the table, `record` the
function behind the notifications, `api` the routes. May import `web`, `aws` and `core`; no other
capability.
"""
