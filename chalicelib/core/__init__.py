"""What every room uses: settings, errors, logs, metrics, tracing, time, ids, names, strict JSON,
paging. It knows nothing of AWS, Chalice or a capability, and imports nothing of `chalicelib`.
"""
