"""Events: accept them one by one or in batches, store, process, list and read them.

An event goes from a request (`api`, `cloudevents`, `batch`) through `ingest` to bronze (`lake`) and
the `ledger`, as a `message` to the `worker`, through a processor to silver, and to the `bus`.
`model` has the values, `keys` the places in the lake, `unit` the files that events of a batch
share. This room imports `web`, `aws` and `core`; other rooms may import it.
"""
