"""The decisions of a worker, without I/O and without a clock.

What to call next follows from replies and handler results alone. `runnel.worker` carries it out;
a simulator can do so as well.

A partition that is held is in one of four states, and returns to none of them::

    open ------> draining ---> ended
      |             ^            ^
      +-> paused ---+------------+

open
    Its events are handed out.
paused
    Nothing is handed out: an operator has paused it, or an event has failed for good (then it is
    quarantined). The lease is kept, so that no other worker tries. An operator who resumes it has
    its grant withdrawn; it is drained, and claimed again under a new grant.
draining
    The group wants it for another member, or the worker shuts down. Nothing more is handed out.
    Once the handler is done with the current event, the last commit releases the lease.
ended
    The lease was released, or a call under its token was refused. Nothing more can be written.
"""
