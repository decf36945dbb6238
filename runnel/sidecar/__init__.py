"""A worker whose handler is a program in any language: ``runnel worker --exec``.

`wire` writes the lines that the program reads, and reads those that it writes. `handler_process` is
one such program while it runs. `handler_slot` starts it again when it has died, and finds the event
that kills it. `sidecar_app` makes an ordinary app of this: its handler asks the program.
"""
