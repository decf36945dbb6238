"""The worker: runs processors and tasks of an app.

Who has whom::

    Worker                     checks the server, starts everything, ends everything; a process
                               has one, or a program of a user has some (`Block`)
      LifespanRun              calls startup functions before all else, shutdown functions after it
      Scheduler                runs tasks, timers and cron tasks
        LeaderElection         takes and renews the leader lease: the leader runs the cron tasks
      Member                   one for each processor: joins its group, works, leaves
        SharedMembership       what this member knows of its group: grants, leases, its session
        Heartbeat              calls `sync` in the event loop, and carries out what the reply says
        HeartbeatThread        calls `sync` from a thread while user code blocks the event loop, for
                               at most the setting `max_block`, so that the session goes on; it
                               carries nothing out
        HeldPartitions         claims what is granted, releases what is not granted any more
          Claims               calls `claim`, restores lost keys, counts and logs lost events
          PartitionIO          the tasks that read and commit for all partitions held
            LogReader          one for each feed: reads into the buffers of its partitions
            Committer          sends the commits of many partitions in one round trip
            Forwarder          one for each outbox with entries: appends them to their streams
          PartitionQueue       one for each partition held: gives its events to the handler
            PartitionState     what was read, handed out, finished and committed, under which token
              Suspicion        which of the next events may be the reason why a worker died
          Parts                makes both; if an app has observers, which make metrics and traces,
                               such as tell them (`ObservedState`, `ObservedQueue`)
          Runner               one for each partition held: runs the handler again and again
            HandlerRun         one run of the handler
          ConcurrentRunner     in its place with `concurrency`: runs the handler for each event
            Window             the events in hand: which may start, and which are finished
            EventRun           one try of one event
          GivingUp             tells Redis of failures, and applies the policy

A grant takes this way: the reply of `sync` -> `Heartbeat` -> `HeldPartitions.carry_out` -> `Claims`
-> a `PartitionQueue` and a `Runner`. An event takes this one: `LogReader` -> `PartitionState` ->
`PartitionQueue` -> the handler -> `PartitionState` -> `Committer`.

What Redis knows, such as tenure or death, is explained in ``lua/README.md``. Words that only the
worker uses:

handler
    The user's function. It gets the events of one partition and iterates over them.
buffer, current, finished, committed
    An event is in the buffer once it was read, current once it was handed out to the handler,
    finished once the handler is done with it, committed once the checkpoint has reached it.
rewind
    To put the current events back into the buffer, because the handler did not finish them.
window, prefix, beyond
    With `concurrency`, the current events are the window. Those that are finished with nothing
    unfinished before them are its prefix, over which the checkpoint moves; what is finished beyond
    the prefix is repeated after a crash.
settled
    A partition is settled if everything that was read is committed.
open, stopped, draining, ended
    The states of a partition that is held: see `runnel.core`.
suspicion
    What is known of deaths of workers and failures, and therefore how the next events are handed
    out: with their start recorded in Redis (`recorded`), each committed before the next
    (`commit_first`), one of this worker at a time (`alone`).
isolate
    To hand out the events of a failed batch one by one, to find the one that fails.
give up
    To retry an event no more. The policy of the processor decides what follows.
skip
    To move the checkpoint past an event that was given up, with or without a dead letter.
verify a cursor
    To check that the entry exists after which events were read. If it does not, events after it may
    have been lost. Until it is verified, the cursor and the events read after it are unverified.
reclaim, repeat a claim
    To call `claim` once more with the same grant and nonce, which keeps the lease: the reply says
    what the log has lost. After a lease has ended, the partition is claimed under a new grant.
prefetch
    A setting of the processor: how many events of a partition one read brings at most. Up to twice
    as many wait for the handler.
feed
    What one reader reads: up to a thousand logs of one server together; one log, or several in
    turn, in a Redis Cluster.
outage
    A time in which Redis gives no reply. It is logged when it begins and when it ends.
"""
