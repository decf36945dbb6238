"""The decisions of a worker, without I/O and without a clock.

What to call next follows from replies and handler results alone. `runnel.worker` carries it out;
a simulator can do so as well.

A partition that is held is in one of four states, and returns to none of them::

    open ----+-----------------> draining ---> ended
             |                      ^            ^
             +---> stopped ---------+            |
             |        |                          |
             +--------+--------------------------+

open
    Its events are handed out.
stopped
    Nothing is handed out. It is quarantined, because an event or the handler has failed for good,
    or an operator has paused it. The lease is kept, so that no other worker tries. An operator who
    resumes it withdraws its grant: then it is drained, and claimed under a new grant.
draining
    Nothing more is handed out, because the group does not grant it any more, the worker shuts down,
    or the policy HALT ends the worker. Once the handler has ended, the last commit releases the
    lease.
ended
    This worker writes nothing more under the token: the lease was released, or a call was refused,
    or the worker gives the lease up because its keys are wrong or it must shut down. This may
    happen in any of the states before.

If several apply, the one furthest to the right counts: a partition that was stopped and is to be
drained is draining.
"""
