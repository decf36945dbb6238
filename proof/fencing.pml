/* Why a lease is fenced by epoch and nonce, and not by an epoch alone.

   A model of `claim`, `commit` and a failover that loses writes, for the model checker Spin: it
   walks through every order in which the steps below can happen and stops at the first state that
   breaks an assertion. Run it with scripts/prove.

   Workers take the lease on one partition, do its events one by one, and commit each. Calls are
   scripts, so each runs as one step. Everything else may go wrong at any moment: a worker sleeps
   for as long as it likes, a commit is delayed, arrives twice, or its reply is lost, and the
   primary is replaced by a replica that lacks its last writes. The group's advice is left out:
   here anybody may claim at any time, which is the worst that a group can do.

   With -DEPOCH_ONLY the fence compares epochs alone. Then Spin finds a way to commit past a newer
   lease. With -DNO_CAS a commit does not compare the checkpoint that it starts from; then one that
   arrives twice counts twice. Without either, all assertions hold in every reachable state. */

#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef CLAIMS
#define CLAIMS 3     /* in all */
#endif
#ifndef EVENTS
#define EVENTS 2     /* in the log, 7 at most */
#endif
#ifndef FAILOVERS
#define FAILOVERS 2
#endif
#define NOBODY 0

/* What Redis stores. `mover` and `done` are not in Redis: they are there to be asserted. */
typedef Slot {
  byte epoch;       /* the token: an integer that only grows ... */
  byte nonce;       /* ... and what the claimer drew at random */
  byte checkpoint;  /* the last finished event */
  byte processed;   /* the number of finished events */
  byte mover        /* nonce of the lease that moved the checkpoint last */
};
Slot primary, replica;

/* A nonce is drawn by a client, from so many that none comes up twice. Here that is a counter
   that lives outside Redis, where no failover takes it back. */
byte nonces = 0;
byte failovers = 0;
byte finished = 0;  /* events that some handler has finished, ever: one bit each */

/* What a worker believes: its token, and how far it is. */
typedef Lease { byte epoch; byte nonce; byte at };
Lease lease[WORKERS];

/* The last commit that a worker sent. It may reach Redis at any time, and more than once. */
typedef Commit { byte epoch; byte nonce; byte prev };
Commit sent[WORKERS];

#ifdef EPOCH_ONLY
#define PASSES(token) (token.nonce != NOBODY && primary.epoch == token.epoch)
#else
#define PASSES(token) (token.nonce != NOBODY && primary.epoch == token.epoch && primary.nonce == token.nonce)
#endif

inline copy(from, to) {
  to.epoch = from.epoch;
  to.nonce = from.nonce;
  to.checkpoint = from.checkpoint;
  to.processed = from.processed;
  to.mover = from.mover
}

inline forget(it) {
  it.epoch = 0;
  it.nonce = NOBODY;
  it.at = 0
}

/* S2: of all tokens that anybody believes in, Redis takes one at most. */
inline at_most_one_token_is_valid() {
  valid = 0;
  for (i : 0 .. WORKERS - 1) {
    if
    :: PASSES(lease[i]) -> valid++
    :: else
    fi
  }
#ifndef EPOCH_ONLY  /* There it does not hold; Spin shall go on, to what comes of it. */
  assert(valid <= 1)
#endif
}

proctype Worker(byte me) {
  byte i, valid;
end:
  do
  /* Forget the lease: a crash and a new start, or an order from the group. */
  :: lease[me].nonce != NOBODY -> d_step { forget(lease[me]) }

  /* claim. In truth the epoch is max(stored + 1, the server's clock in ms). What Redis stored is
     lost with a failover, and the new primary's clock may be behind: so it is stored + 1 here. */
  :: lease[me].nonce == NOBODY && nonces < CLAIMS -> d_step {
       nonces++;
       primary.epoch++;
       primary.nonce = nonces;
       lease[me].epoch = primary.epoch;
       lease[me].nonce = primary.nonce;
       lease[me].at = primary.checkpoint;
       printf("worker %d claims: epoch %d, nonce %d, checkpoint %d\n",
              me, lease[me].epoch, lease[me].nonce, lease[me].at);
       at_most_one_token_is_valid();
       i = 0; valid = 0
     }

  /* Finish the next event, and send the commit. */
  :: lease[me].nonce != NOBODY && lease[me].at < EVENTS -> d_step {
       finished = finished | (1 << lease[me].at);
       sent[me].epoch = lease[me].epoch;
       sent[me].nonce = lease[me].nonce;
       sent[me].prev = lease[me].at;
       printf("worker %d finishes event %d and sends its commit\n", me, lease[me].at + 1)
     }

  /* The commit reaches Redis: for the first time or once more, at once or late. */
  :: sent[me].nonce != NOBODY -> d_step {
       if
       :: !PASSES(sent[me]) ->                                                    /* FENCED */
            printf("worker %d's commit of nonce %d is fenced\n", me, sent[me].nonce);
            if
            :: lease[me].nonce == sent[me].nonce -> forget(lease[me])
            :: else
            fi
       :: else ->
            printf("worker %d's commit of nonce %d passes the fence; the lease is nonce %d's\n",
                   me, sent[me].nonce, primary.nonce);
            /* S1: only the holder of the stored lease passes the fence. */
            assert(sent[me].nonce == primary.nonce);
            if
#ifdef NO_CAS
            :: true ->
#else
            :: primary.checkpoint == sent[me].prev ->
#endif
                 primary.checkpoint = sent[me].prev + 1;
                 primary.processed++;
                 primary.mover = sent[me].nonce;
                 /* S4: the checkpoint moves past finished events only. */
                 assert(finished & (1 << sent[me].prev));
                 lease[me].at = (lease[me].nonce == sent[me].nonce -> sent[me].prev + 1 : lease[me].at)
#ifndef NO_CAS
            :: primary.checkpoint == sent[me].prev + 1 ->                         /* DUP */
                 /* S6: this is said to the one whose commit it was. */
                 assert(primary.mover == sent[me].nonce);
                 lease[me].at = (lease[me].nonce == sent[me].nonce -> sent[me].prev + 1 : lease[me].at)
            :: else ->                                                            /* CONFLICT */
                 if
                 :: lease[me].nonce == sent[me].nonce -> forget(lease[me])
                 :: else
                 fi
#endif
            fi
       fi;
       /* S6: every event counts once. */
       assert(primary.processed == primary.checkpoint)
     }
  od
}

/* Replication is asynchronous: the replica is a copy of the primary as it was at some moment. */
active proctype Replication() {
  byte i, valid;
end:
  do
  :: d_step { copy(primary, replica) }
  :: failovers < FAILOVERS -> d_step {
       failovers++;
       copy(replica, primary);
       printf("failover: epoch %d, nonce %d, checkpoint %d\n",
              primary.epoch, primary.nonce, primary.checkpoint);
       at_most_one_token_is_valid();
       i = 0; valid = 0
     }
  od
}

init {
  byte w;
  atomic {
    for (w : 0 .. WORKERS - 1) { run Worker(w) }
    w = 0
  }
}
