"""The worker's decisions, without I/O and without a clock.

What to call next follows from replies, ticks and handler results alone. The shell in
`runnel.worker` carries it out; a simulator may do so as well.
"""
