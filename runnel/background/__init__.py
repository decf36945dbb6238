"""Makes asynchronous calls for code that has no event loop, in one background thread per process.

`sync_calls.run_sync` is what the rest of Runnel uses. It hands the call to the `BackgroundLoop`,
and its own thread waits, in the way that suits the thread: see `waiters`.
"""
