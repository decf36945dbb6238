"""The shell around the core: asyncio, Redis, signals."""
