/*
 * Collection of tombstones, for the Spin model checker: a server and members that write one row, push, pull and acknowledge,
 * in every way there is. The stable cut travels in the log: who passes it forgets the tombstones that it covers.
 *
 * A tombstone may go when
 *   (a) every live member's clock covers it,
 *   (b) the row has no other head,
 *   (c) the collector holds everything that each member had issued before acknowledging it,
 *   (d) later writes to that row carry a context that still covers it, or come after the cut in the log.
 *
 * A change is a number: author * WRITES + seq - 1. A set of changes is a byte with a bit for each. Of the fields of a row
 * there is one: an insert writes it (and the rest of the row), an update writes another, a delete writes none.
 *
 * Checked in every state, of the server and of each member: the row is what it would be had nothing ever been forgotten, by
 * sets of changes alone; only a row whose heads are deletes may be gone.
 *
 * What can be taken away, each from outside with -D: SKIP_A, SKIP_B, SKIP_C, SKIP_D.
 *
 * Every push, pull and acknowledgement is a step here, and so it comes to an end with five writes in all. collection-log.pml has
 * the same with few steps, for six and more; the command holds the two together.
 */
#define M 3
#define SERVER M
#define NODES (M + 1)
#ifndef WRITES
#define WRITES 2
#endif
#ifndef CUTS
#define CUTS 1
#endif
/* Writes of all members together. */
#ifndef TOTAL
#define TOTAL (M * WRITES)
#endif
#define CHANGES (M * WRITES)
#define LOG (CHANGES + CUTS)

#define bit(c) (1 << (c))
#define has(set, c) (((set) >> (c)) & 1)
#define author(c) ((c) / WRITES)
#define seqOf(c) ((c) % WRITES + 1)
#define VV(r, a) vv[(r) * M + (a)]
#define CLOCK(r, a) clock[(r) * M + (a)]
#define CTX(c, a) ctx[(c) * M + (a)]
#define leastOf(a, b) ((a) < (b) -> (a) : (b))
#define CUT(n, a) cut[(n) * M + (a)]
#define isCut(entry) (entry >= CHANGES)

#ifdef BREADTH
#define SCRATCH byte
#else
#define SCRATCH hidden byte
#endif

mtype = { NONE, INSERT, UPDATE, DELETE }

/* Of each change, once it is written; `seen` is what its writer held: what the judge goes by. */
mtype op[CHANGES]; byte deletes; byte ctx[CHANGES * M]; byte seen[CHANGES];
/* Of each node: its clock and what it holds; its row: clock, heads, versions of the field. */
byte vv[NODES * M]; byte held[NODES];
byte clock[NODES * M]; byte heads[NODES]; byte versions[NODES];
/* The server's log: changes, and cuts by number. How far each member has read it. What everybody has read is wiped. */
byte log[LOG]; byte end; byte cursor[M]; byte wiped;
/* What every member that has acknowledged covers, and what each had issued then as long as the server lacks it. */
byte low[M]; byte issued[M]; byte acked[M];
byte cut[CUTS * M]; byte cuts;
#ifdef SKIP_D
/* Cuts that a member has heard of, by whatever way. */
byte heard[M];
#endif

SCRATCH j; SCRATCH k; SCRATCH c; SCRATCH kept; SCRATCH set; SCRATCH past; SCRATCH wrote; SCRATCH dead; SCRATCH ok;

inline drop(target, result) {
  result = 0; j = 0;
  do
  :: j < CHANGES ->
     if
     :: has(target, j) && CTX(c, author(j)) < seqOf(j) -> result = result | bit(j)
     :: else
     fi;
     j++
  :: else -> break
  od
}

/* Change `c` arrives. */
inline apply(r) {
  if
  :: CLOCK(r, author(c)) < seqOf(c) ->
     drop(heads[r], kept); heads[r] = kept | bit(c);
     if
     :: op[c] == INSERT -> drop(versions[r], kept); versions[r] = kept | bit(c)
     :: else
     fi;
     j = 0;
     do
     :: j < M ->
        if
        :: CTX(c, j) > CLOCK(r, j) -> CLOCK(r, j) = CTX(c, j)
        :: else
        fi;
        j++
     :: else -> break
     od;
     CLOCK(r, author(c)) = seqOf(c)
  :: else
  fi;
  held[r] = held[r] | bit(c); VV(r, author(c)) = seqOf(c)
}

/* Cut `k` is passed: a tombstone that it covers, and that stands alone, is forgotten. */
inline collect(r) {
  ok = 0; dead = 0; j = 0;
  do
  :: j < CHANGES ->
     if
     :: has(heads[r], j) && op[j] == DELETE && CUT(k, author(j)) >= seqOf(j) -> dead = dead | bit(j)
     :: else
     fi;
     j++
  :: else -> break
  od;
#ifdef SKIP_B
  ok = dead != 0;
#else
  ok = dead != 0 && dead == heads[r] && (dead & (dead - 1)) == 0;
#endif
  if
  :: ok ->
     printf("  node %d forgets the row\n", r);
     heads[r] = 0; versions[r] = 0; j = 0;
     do
     :: j < M -> CLOCK(r, j) = 0; j++
     :: else -> break
     od
  :: else
  fi
}

/* With -DTELL a state of a node is printed: node, held, inserts, deletes, what each change had seen, heads, versions, clock. */
#define as(r, x, deed) (has(held[r], x) && op[x] == deed -> bit(x) : 0)
#define heldAs(r, deed) (as(r, 0, deed) | as(r, 1, deed) | as(r, 2, deed) | as(r, 3, deed) | as(r, 4, deed) | as(r, 5, deed))
#define seenBy(r, x) (has(held[r], x) -> seen[x] : 0)

/* By sets: what the row would be had nothing been forgotten. */
inline check(r) {
  past = 0; wrote = 0; kept = 0; set = 0; dead = 0; j = 0;
  do
  :: j < CHANGES ->
     if
     :: has(held[r], j) ->
        kept = kept | bit(j); past = past | seen[j];
        if
        :: op[j] == INSERT -> set = set | bit(j); wrote = wrote | seen[j]
        :: op[j] == DELETE -> dead = dead | bit(j)
        :: else
        fi
     :: else
     fi;
     j++
  :: else -> break
  od;
#ifdef TELL
  printf("state %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d\n", r, held[r], heldAs(r, INSERT), held[r] & dead,
    seenBy(r, 0), seenBy(r, 1), seenBy(r, 2), seenBy(r, 3), seenBy(r, 4), seenBy(r, 5),
    heads[r], versions[r], CLOCK(r, 0), CLOCK(r, 1), CLOCK(r, 2));
#endif
  kept = kept & ~past;
  if
  :: heads[r] == 0 -> assert((kept & ~dead) == 0)
  :: else ->
     assert(heads[r] == kept);
     /* The fields beneath a row whose heads are all deletes are nobody's business. */
     assert((kept & ~dead) == 0 || versions[r] == (set & ~wrote))
  fi
}

inline write(m, deed) {
  c = m * WRITES + VV(m, m);
  op[c] = deed; seen[c] = held[m]; deletes = deletes | (deed == DELETE -> bit(c) : 0); j = 0;
  do
  :: j < M -> CTX(c, j) = CLOCK(m, j); j++
  :: else -> break
  od;
  printf("member %d writes %e as change %d; context %d %d %d\n", m, deed, c, CTX(c, 0), CTX(c, 1), CTX(c, 2));
  apply(m); check(m)
}

inline push(m) {
  c = m * WRITES + VV(SERVER, m);
  printf("member %d pushes change %d\n", m, c);
  log[end] = c; end++;
  issued[m] = (issued[m] <= VV(SERVER, m) + 1 -> 0 : issued[m]);
  apply(SERVER); check(SERVER)
}

inline pull(m) {
  c = log[cursor[m]]; cursor[m] = cursor[m] + 1;
  set = leastOf(cursor[0], cursor[1]); set = leastOf(set, cursor[2]);
  do
  :: wiped < set -> log[wiped] = 0; wiped++
  :: else -> break
  od;
  if
  :: isCut(c) -> k = c - CHANGES; printf("member %d passes cut %d\n", m, k);
#ifndef SKIP_D
     collect(m)
#endif
  :: !isCut(c) && author(c) == m
  :: else -> printf("member %d pulls change %d\n", m, c); apply(m)
  fi;
  check(m)
}

#define anyAcked (acked[0] > cuts || acked[1] > cuts || acked[2] > cuts)

inline acknowledge(m) {
  printf("member %d acknowledges\n", m); j = 0;
  do
  :: j < M -> low[j] = (anyAcked -> leastOf(low[j], VV(m, j)) : VV(m, j)); j++
  :: else -> break
  od;
  issued[m] = (VV(m, m) > VV(SERVER, m) -> VV(m, m) : 0); acked[m] = cuts + 1
}

#ifdef SKIP_D
inline hear(m) {
  k = heard[m]; heard[m] = heard[m] + 1;
  printf("member %d hears of cut %d\n", m, k);
  collect(m); check(m)
}
#endif

/* The server holds what each member had issued when it acknowledged: its own seq is in its acknowledgement. */
#ifdef SKIP_C
#define holdsIssued true
#else
#define holdsIssued (issued[0] == 0 && issued[1] == 0 && issued[2] == 0)
#endif
#ifdef SKIP_A
#define allAcked true
#define covered(c) (op[c] == DELETE && seqOf(c) <= VV(SERVER, author(c)))
#else
#define allAcked (acked[0] > cuts && acked[1] > cuts && acked[2] > cuts)
#define covered(c) (op[c] == DELETE && seqOf(c) <= low[author(c)])
#endif
#if WRITES == 2
#define coversDelete (covered(0) || covered(1) || covered(2) || covered(3) || covered(4) || covered(5))
#else
#define coversDelete (covered(0) || covered(1) || covered(2))
#endif
inline cutNow() {
  j = 0; k = cuts; cuts++;
  do
  :: j < M ->
#ifdef SKIP_A
     CUT(k, j) = VV(SERVER, j);
#else
     CUT(k, j) = low[j];
#endif
     low[j] = 0; issued[j] = 0; acked[j] = (cuts == CUTS -> 0 : acked[j]); j++
  :: else -> break
  od;
  printf("the server cuts at %d %d %d\n", CUT(k, 0), CUT(k, 1), CUT(k, 2));
  log[end] = CHANGES + k; end++;
  collect(SERVER); check(SERVER)
}

#define tidy j = 0; k = 0; c = 0; kept = 0; set = 0; past = 0; wrote = 0; dead = 0; ok = 0; who = 0; deed = NONE

#define isAlive(m) ((heads[m] & ~deletes) != 0)
/* Nobody can tell members apart, so they write for the first time in the order of their numbers. */
#define mayWrite(m) (VV(m, m) < WRITES && VV(0, 0) + VV(1, 1) + VV(2, 2) < TOTAL && (m == 0 || VV((m + M - 1) % M, (m + M - 1) % M) > 0))
/*
 * Of several acknowledgements the last before a cut is the one that counts: each member makes one for each cut. One that
 * covers no delete leads to no cut that does.
 */
#define mayAcknowledge(m) (cuts < CUTS && acked[m] == cuts && (held[m] & deletes) != 0)
/* A cut that covers no delete makes nobody forget anything. */

/*
 * What a member writes and pulls, others see no sooner than it pushes or acknowledges. So it is enough to look at runs in
 * which a member that has begun goes on until it does: it has the turn.
 */
#define isFree(m) (turn == 0 || turn == m + 1)

active proctype world() {
  byte who = 0; byte turn = 0; mtype deed = NONE;
  do
  :: atomic {
       if
       :: who = 0
       :: who = 1
       :: who = 2
       fi;
       if
       :: isFree(who) && mayWrite(who) ->
          if
          :: !isAlive(who) -> deed = INSERT
          :: isAlive(who) -> deed = UPDATE
          :: isAlive(who) -> deed = DELETE
          fi;
          d_step { turn = who + 1; write(who, deed); tidy }
       :: isFree(who) && cursor[who] < end -> d_step { turn = who + 1; pull(who); tidy }
#ifdef SKIP_D
       :: isFree(who) && heard[who] < cuts -> d_step { turn = who + 1; hear(who); tidy }
#endif
       :: isFree(who) && VV(SERVER, who) < VV(who, who) -> d_step { turn = 0; push(who); tidy }
       :: isFree(who) && mayAcknowledge(who) -> d_step { turn = 0; acknowledge(who); tidy }
       :: turn == 0 && who == 0 && cuts < CUTS && allAcked && holdsIssued && coversDelete ->
          d_step { cutNow(); tidy }
       :: else -> who = 0
       fi
     }
  od
}
