"""The decisions of a worker, without I/O and without a clock.

What to call next follows from replies and handler results alone. `runnel.worker` carries it out;
a simulator can do so as well.
"""
