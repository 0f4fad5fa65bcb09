"""HTTP, below every capability: the extended Chalice, requests and responses, callers and limits,
and the OpenAPI description. The only room beside `app.py` that knows Chalice. It may import `core`.
"""
