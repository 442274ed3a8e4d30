/*
 * The merge, for the Spin model checker: replicas that write rows, exchange changes in any order that is allowed, and join
 * each other's rows, in every way there is. core/row.ts is the engine's; here are only its rules, with sets as the judge.
 *
 * A change is a number: author * WRITES + seq - 1. A set of changes is a byte with a bit for each.
 * Of the fields of a row there is one. What a change does to it: it writes it (an insert or an update with that field),
 * clears it (an insert without it: a whole row takes the place of all it covers), or leaves it alone (a delete, an update
 * of others).
 *
 * Checked in every state:
 *   EXACT  a row is what the set of changes it holds makes of it, by sets alone; so replaying and joining are the same
 *   EQUAL  replicas with equal clocks hold equal rows
 *
 * What can be taken away, each from outside with -D:
 *   REPLICA_CLOCK  a change carries the whole clock of its replica as its context, not that of the row
 *   NON_CAUSAL     a change is taken before those that its context names
 *   HEADS_ONLY     looks at heads alone, not at fields
 * And what can be added:
 *   ROWS=2         a second row
 *   CLEARING       inserts that do not have the field
 *   JOINS          rows also travel as states, one at a time or all of them
 */
#define N 3
#ifndef ROWS
#define ROWS 1
#endif
#ifndef WRITES
#define WRITES 2
#endif
#define CHANGES (N * WRITES)
/* Writes of all replicas together. */
#ifndef TOTAL
#define TOTAL CHANGES
#endif

mtype = { LEAVES, WRITES_IT, CLEARS }

#define bit(c) (1 << (c))
#define has(set, c) (((set) >> (c)) & 1)
#define author(c) ((c) / WRITES)
#define seqOf(c) ((c) % WRITES + 1)
#define VV(r, a) vv[(r) * N + (a)]
#define CLOCK(r, x, a) clock[((r) * ROWS + (x)) * N + (a)]
#define AT(r, x) ((r) * ROWS + (x))
#define CTX(c, a) ctx[(c) * N + (a)]

/* Of each change, once it is written. */
byte rowOf[CHANGES]; mtype does[CHANGES];
byte ctx[CHANGES * N];
/* The changes of its row that its writer held: what the judge goes by. */
byte seen[CHANGES];

/* Of each replica. */
byte vv[N * N];
/* Of each row of each replica: its clock, the changes that made it, its heads, and the versions of its field. */
byte clock[N * ROWS * N]; byte held[N * ROWS]; byte heads[N * ROWS]; byte versions[N * ROWS];

/* Scratch, which is zero between steps; a search by breadth wants it in the open. */
#ifdef BREADTH
#define SCRATCH byte
#else
#define SCRATCH hidden byte
#endif
SCRATCH i; SCRATCH j; SCRATCH k; SCRATCH x; SCRATCH set; SCRATCH kept; SCRATCH past; SCRATCH wrote; SCRATCH ok;

inline drop(target, c, result) {
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

/* applyChange of core/row.ts. */
inline apply(r, c) {
  x = rowOf[c];
  if
  :: CLOCK(r, x, author(c)) >= seqOf(c)
  :: else ->
     drop(heads[AT(r, x)], c, kept);
     heads[AT(r, x)] = kept | bit(c);
     if
     :: does[c] != LEAVES -> drop(versions[AT(r, x)], c, kept); versions[AT(r, x)] = kept
     :: else
     fi;
     if
     :: does[c] == WRITES_IT -> versions[AT(r, x)] = versions[AT(r, x)] | bit(c)
     :: else
     fi;
     j = 0;
     do
     :: j < N ->
        if
        :: CTX(c, j) > CLOCK(r, x, j) -> CLOCK(r, x, j) = CTX(c, j)
        :: else
        fi;
        j++
     :: else -> break
     od;
     if
     :: seqOf(c) > CLOCK(r, x, author(c)) -> CLOCK(r, x, author(c)) = seqOf(c)
     :: else
     fi
  fi;
  /* What the row was made from: the change, and nothing that only its context names. */
  held[AT(r, x)] = held[AT(r, x)] | bit(c);
  j = 0;
  do
  :: j < N ->
     if
     :: CTX(c, j) > VV(r, j) -> VV(r, j) = CTX(c, j)
     :: else
     fi;
     j++
  :: else -> break
  od;
  if
  :: seqOf(c) > VV(r, author(c)) -> VV(r, author(c)) = seqOf(c)
  :: else
  fi;
  x = 0; j = 0; kept = 0
}

/* joinRows of core/row.ts: what both have, and what either has that the other's clock does not cover. */
inline joinSets(mine, theirs, r, s, y, result) {
  result = mine & theirs; j = 0;
  do
  :: j < CHANGES ->
     if
     :: has(mine, j) && CLOCK(s, y, author(j)) < seqOf(j) -> result = result | bit(j)
     :: has(theirs, j) && CLOCK(r, y, author(j)) < seqOf(j) -> result = result | bit(j)
     :: else
     fi;
     j++
  :: else -> break
  od
}

inline joinRow(r, s, y) {
  joinSets(heads[AT(r, y)], heads[AT(s, y)], r, s, y, kept);
  joinSets(versions[AT(r, y)], versions[AT(s, y)], r, s, y, set);
  heads[AT(r, y)] = kept; versions[AT(r, y)] = set;
  held[AT(r, y)] = held[AT(r, y)] | held[AT(s, y)];
  j = 0;
  do
  :: j < N ->
     if
     :: CLOCK(s, y, j) > CLOCK(r, y, j) -> CLOCK(r, y, j) = CLOCK(s, y, j)
     :: else
     fi;
     j++
  :: else -> break
  od;
  kept = 0; set = 0; j = 0
}

/* By sets: heads are the changes that no other of the set had seen; so are the versions, among those that touch the field. */
inline checkExact(r, y) {
  past = 0; wrote = 0; kept = 0; set = 0; j = 0;
  do
  :: j < CHANGES ->
     if
     :: has(held[AT(r, y)], j) ->
        past = past | seen[j];
        if
        :: does[j] != LEAVES -> wrote = wrote | seen[j]
        :: else
        fi;
        kept = kept | bit(j);
        if
        :: does[j] == WRITES_IT -> set = set | bit(j)
        :: else
        fi
     :: else
     fi;
     j++
  :: else -> break
  od;
  assert(heads[AT(r, y)] == (kept & ~past));
#ifndef HEADS_ONLY
  assert(versions[AT(r, y)] == (set & ~wrote));
#endif
  past = 0; wrote = 0; kept = 0; set = 0; j = 0
}

/* Rows that hold more than the replica's clock covers are a part of a snapshot whose rest has not come. */
inline checkEqual(r, s) {
  ok = 1; j = 0;
  do
  :: j < N ->
     ok = ok && VV(r, j) == VV(s, j); k = 0;
     do
     :: k < ROWS -> ok = ok && CLOCK(r, k, j) <= VV(r, j) && CLOCK(s, k, j) <= VV(s, j); k++
     :: else -> break
     od;
     j++
  :: else -> break
  od;
  if
  :: ok == 1 ->
     k = 0;
     do
     :: k < ROWS ->
        assert(heads[AT(r, k)] == heads[AT(s, k)]);
#ifndef HEADS_ONLY
        assert(versions[AT(r, k)] == versions[AT(s, k)]);
#endif
        k++
     :: else -> break
     od
  :: else
  fi;
  ok = 0; j = 0; k = 0
}

inline check(r) {
#ifndef NON_CAUSAL
  checkExact(r, 0);
#if ROWS > 1
  checkExact(r, 1);
#endif
#endif
  checkEqual(r, (r + 1) % N);
  checkEqual(r, (r + 2) % N)
}

/* Nobody can tell replicas apart, so they write for the first time in the order of their numbers. */
#define mayWrite(r) (VV(r, r) < WRITES && VV(0, 0) + VV(1, 1) + VV(2, 2) < TOTAL && (r == 0 || VV((r + N - 1) % N, (r + N - 1) % N) > 0))

inline write(r, y, deed) {
  i = r * WRITES + VV(r, r);
  rowOf[i] = y; does[i] = deed; seen[i] = held[AT(r, y)];
  j = 0;
  do
  :: j < N ->
#ifdef REPLICA_CLOCK
     CTX(i, j) = VV(r, j);
#else
     CTX(i, j) = CLOCK(r, y, j);
#endif
     j++
  :: else -> break
  od;
  printf("replica %d writes change %d of row %d, which %e the field; context %d %d %d\n",
    r, i, y, deed, CTX(i, 0), CTX(i, 1), CTX(i, 2));
  apply(r, i); check(r); i = 0
}

#define isWritten(c) (VV(author(c), author(c)) >= seqOf(c))
#ifdef NON_CAUSAL
#define mayTake(r, c) (isWritten(c) && VV(r, author(c)) < seqOf(c))
#else
#define mayTake(r, c) (isWritten(c) && VV(r, author(c)) + 1 == seqOf(c) && \
  (author(c) == 0 || CTX(c, 0) <= VV(r, 0)) && (author(c) == 1 || CTX(c, 1) <= VV(r, 1)) && \
  (author(c) == 2 || CTX(c, 2) <= VV(r, 2)))
#endif

inline take(r, c) {
  printf("replica %d takes change %d\n", r, c);
  apply(r, c); check(r)
}

inline restore(r, s, y) {
  printf("replica %d joins row %d of replica %d\n", r, y, s);
  joinRow(r, s, y); check(r)
}

/* A snapshot is given by who holds no part of one. */
#define isWhole(s) (CLOCK(s, 0, 0) <= VV(s, 0) && CLOCK(s, 0, 1) <= VV(s, 1) && CLOCK(s, 0, 2) <= VV(s, 2) && \
  CLOCK(s, ROWS - 1, 0) <= VV(s, 0) && CLOCK(s, ROWS - 1, 1) <= VV(s, 1) && CLOCK(s, ROWS - 1, 2) <= VV(s, 2))

inline restoreAll(r, s) {
  printf("replica %d joins all rows of replica %d\n", r, s);
  joinRow(r, s, 0);
#if ROWS > 1
  joinRow(r, s, 1);
#endif
  j = 0;
  do
  :: j < N ->
     if
     :: VV(s, j) > VV(r, j) -> VV(r, j) = VV(s, j)
     :: else
     fi;
     j++
  :: else -> break
  od;
  j = 0; check(r)
}

active proctype world() {
  byte who = 0; byte what = 0; byte where = 0; mtype deed = LEAVES;
  do
  :: atomic {
       if
       :: who = 0 :: who = 1 :: who = 2
       fi;
       if
       :: mayWrite(who) ->
          if
          :: deed = WRITES_IT
#ifndef HEADS_ONLY
          :: deed = LEAVES
#endif
#ifdef CLEARING
          :: deed = CLEARS
#endif
          fi;
#if ROWS > 1
          if
          :: where = 0
          :: where = 1
          fi;
#endif
          d_step { write(who, where, deed); who = 0; where = 0; deed = LEAVES }
       :: what = 0;
          do
          :: what < CHANGES - 1 -> what++
          :: break
          od;
          if
          :: mayTake(who, what) -> d_step { take(who, what); who = 0; what = 0 }
          :: else -> d_step { who = 0; what = 0 }
          fi
#ifdef JOINS
       :: if
          :: what = (who + 1) % N
          :: what = (who + 2) % N
          fi;
          if
          :: isWhole(what) -> d_step { restoreAll(who, what); who = 0; what = 0 }
          :: isWhole(what) -> d_step { restore(who, what, 0); who = 0; what = 0 }
#if ROWS > 1
          :: isWhole(what) -> d_step { restore(who, what, 1); who = 0; what = 0 }
#endif
          :: else -> d_step { who = 0; what = 0 }
          fi
#endif
       fi
     }
  od
}
