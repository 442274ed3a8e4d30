/*
 * Collection of tombstones once more, told from the server's log alone: the same runs as in collection.pml, with so few steps
 * that all six writes of three members can be searched.
 *
 * Why nothing is lost. What is checked of a node is a matter of this node: its row against what it holds. So a run may be told
 * in another order, or with steps in one, as long as each node passes the same states.
 *   1  What a member reads and writes, nobody sees before it pushes. So it writes when it pushes, at the place in the log up to
 *      which it had read then: any place from that of its last write to the end. A write that is under way while others push
 *      is one at a place before theirs.
 *   2  Reading is all that is left, and there is no choice in it. After each step every member reads to the end of the log, is
 *      checked at each place, and goes back to where it was. Who writes no more stays there.
 *   3  An acknowledgement does nothing until the cut, and then only says how far its member had read by then. So the cut
 *      chooses which deletes it covers; that they were acknowledged means that each member had read up to them. (c) says that
 *      what a member had written before that is in the log by now: whatever it writes later, it writes at a later place. The
 *      server may leave out deletes that it could have covered.
 *   4  Nobody can tell members apart: they push for the first time in the order of their numbers.
 *   5  A place in the log that everybody has passed is forgotten, with all that is known of its change and does not stand in
 *      a row any more. Sets of changes are those of the row: what a change has seen, and its writer no longer shows, no reader
 *      that holds what the writer held shows either. With -DWHOLE nothing is forgotten, and the judge has the whole sets as well.
 *
 * With -DTELL and -DWHOLE each state of a node is printed as collection.pml prints it: the command compares the two.
 * With -DMEET each event that has to happen is printed when it is met for the first time.
 * What can be taken away, each from outside with -D: SKIP_A, SKIP_B, SKIP_C, SKIP_D; what (a) and (c) forbid is the same here:
 * a write after the cut at a place before what the cut covers.
 */
#define M 3
#define SERVER M
#define NODES (M + 1)
#ifndef WRITES
#define WRITES 2
#endif
#ifndef TOTAL
#define TOTAL (M * WRITES)
#endif
#ifndef CUTS
#define CUTS 1
#endif
#define CHANGES (M * WRITES)
#define LOG (CHANGES + CUTS)

#if CHANGES > 8
#define SET short
#else
#define SET byte
#endif
#define bit(c) (1 << (c))
#define has(set, c) (((set) >> (c)) & 1)
#define author(c) ((c) / WRITES)
#define seqOf(c) ((c) % WRITES + 1)
#define CLOCK(r, a) clock[(r) * M + (a)]
#define CTX(c, a) ctx[(c) * M + (a)]
#define isCut(entry) ((entry) >= CHANGES)
#define isDelete(c) has(deletes, c)

#ifdef BREADTH
#define SCRATCH
#else
#define SCRATCH hidden
#endif
#ifdef MEET
c_decl {
  static char met[16];
}
#define meet(n, what, when) \
  if \
  :: when -> c_code { if (!met[n]) { met[n] = 1; printf("met: %s\n", what); } } \
  :: else \
  fi
#else
#define meet(n, what, when)
#endif

mtype = { NONE, INSERT, UPDATE, DELETE }

/* Of each change, until everybody has it: its context; what its writer showed, by the judge. */
byte ctx[CHANGES * M]; SET over[CHANGES]; SET inserts; SET deletes;
/* Of each member: its writes. */
byte written[M];
/* Of each node, its row: clock, heads, versions of the field. */
byte clock[NODES * M]; SET heads[NODES]; SET versions[NODES];
/* The same by the judge, who forgets nothing. */
SET judged[NODES]; SET judgedVersions[NODES];
/* The log, as far as somebody has not read it: changes, and cuts by number. Where each member stood when it wrote last. */
byte log[LOG]; byte end; byte cursor[M];
/* Of each cut: the deletes that it covers. */
SET cut[CUTS]; byte cuts;

SCRATCH byte i; SCRATCH byte j; SCRATCH byte c; SCRATCH byte least; SCRATCH SET kept;
/* Where a member goes back to. */
SCRATCH byte wasAt; SCRATCH byte was0; SCRATCH byte was1; SCRATCH byte was2;
SCRATCH SET wasHeads; SCRATCH SET wasVersions; SCRATCH SET wasJudged; SCRATCH SET wasJudgedVersions;

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

#ifdef WHOLE
/* What each node holds, and what the writer of each change held. */
SET held[NODES]; SET seen[CHANGES];
SCRATCH SET wasHeld; SCRATCH SET past; SCRATCH SET wrote; SCRATCH SET whole; SCRATCH SET set;
#define hold(r) held[r] = held[r] | bit(c)
#define keepHeld(m) wasHeld = held[m]
#define restoreHeld(m) held[m] = wasHeld
#define rememberSeen(m) seen[c] = held[m]
#else
#define hold(r)
#define keepHeld(m)
#define restoreHeld(m)
#define rememberSeen(m)
#endif

/* Change `c` arrives: core/row.ts, and beside it the judge by sets. */
inline apply(r) {
  if
  :: CLOCK(r, author(c)) < seqOf(c) ->
     drop(heads[r], kept); heads[r] = kept | bit(c);
     if
     :: has(inserts, c) -> drop(versions[r], kept); versions[r] = kept | bit(c)
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
  judged[r] = (judged[r] & ~over[c]) | bit(c);
  if
  :: has(inserts, c) -> judgedVersions[r] = (judgedVersions[r] & ~over[c]) | bit(c)
  :: else
  fi
}

#define allWritten (written[0] + written[1] + written[2])
#define mayStillWrite(m) (written[m] < WRITES && allWritten < TOTAL)
#ifdef SKIP_D
#define goesBack(m) true
#else
#define goesBack(m) mayStillWrite(m)
#endif
#define mayWrite(m) (mayStillWrite(m) && (m == 0 || written[(m + M - 1) % M] > 0))
#define isThree(set) (hasOne(set, 0) + hasOne(set, 1) + hasOne(set, 2) == 3)
#define hasOne(set, a) (((set) & (((1 << WRITES) - 1) << ((a) * WRITES))) != 0)
#define isAlive(m) ((heads[m] & ~deletes) != 0)

/* The cut is passed: a tombstone that it covers, and that stands alone, is forgotten. */
inline collect(r) {
  kept = heads[r] & deletes & cut[c - CHANGES];
  meet(0, "a cut covers a tombstone that does not stand alone", kept != 0 && kept != heads[r]);
  meet(1, "the server forgets, all has been written", r == SERVER && kept == heads[r] && kept != 0 && allWritten == TOTAL);
  meet(2, "a member forgets, all has been written", r != SERVER && kept == heads[r] && kept != 0 && allWritten == TOTAL);
  meet(3, "a tombstone is forgotten that had seen all members", kept == heads[r] && kept != 0 && CLOCK(r, 0) > 0 && CLOCK(r, 1) > 0 && CLOCK(r, 2) > 0);
#ifdef SKIP_B
  if
  :: kept != 0 ->
#else
  if
  :: kept != 0 && kept == heads[r] && (kept & (kept - 1)) == 0 ->
#endif
     if
     :: r == SERVER -> printf("the server forgets the row\n")
     :: else
     fi;
     heads[r] = 0; versions[r] = 0; CLOCK(r, 0) = 0; CLOCK(r, 1) = 0; CLOCK(r, 2) = 0
  :: else
  fi
}

#ifdef WHOLE
#define seenBy(r, x) (has(held[r], x) -> seen[x] : 0)
/* The judge with whole sets says the same. */
inline checkWhole(r) {
  past = 0; wrote = 0; whole = 0; set = 0; j = 0;
  do
  :: j < CHANGES ->
     if
     :: has(held[r], j) ->
        whole = whole | bit(j); past = past | seen[j];
        if
        :: has(inserts, j) -> set = set | bit(j); wrote = wrote | seen[j]
        :: else
        fi
     :: else
     fi;
     j++
  :: else -> break
  od;
  assert(judged[r] == (whole & ~past) && judgedVersions[r] == (set & ~wrote));
#ifdef TELL
  printf("state %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d\n", r, held[r], held[r] & inserts, held[r] & deletes,
    seenBy(r, 0), seenBy(r, 1), seenBy(r, 2), seenBy(r, 3), seenBy(r, 4), seenBy(r, 5), heads[r], versions[r], CLOCK(r, 0), CLOCK(r, 1), CLOCK(r, 2));
#endif
  past = 0; wrote = 0; whole = 0; set = 0
}
#endif

/* What the row would be had nothing been forgotten; only a row whose heads are deletes may be gone. */
inline check(r) {
#ifdef WHOLE
  checkWhole(r);
#endif
  if
  :: heads[r] == 0 -> assert((judged[r] & ~deletes) == 0)
  :: else ->
     assert(heads[r] == judged[r]);
     meet(7, "three heads, a delete among them, after the cut", cuts > 0 && isThree(heads[r]) && (heads[r] & deletes) != 0 && (heads[r] & ~deletes) != 0);
     /* The fields beneath a row whose heads are all deletes are nobody's business. */
     assert((judged[r] & ~deletes) == 0 || versions[r] == judgedVersions[r])
  fi
}

/* Member `m` reads on, up to a place. */
inline read(m, place) {
  do
  :: cursor[m] < place ->
     c = log[cursor[m]]; cursor[m] = cursor[m] + 1;
     if
     :: isCut(c) ->
#ifndef SKIP_D
        collect(m)
#endif
     :: !isCut(c) && author(c) == m
     :: else -> apply(m); hold(m)
     fi;
     check(m)
  :: else -> break
  od
}

/* Member `m` reads to the end and is checked at each place; then all is as before, unless it has nothing left to write. */
inline foresee(m) {
  wasAt = cursor[m]; wasHeads = heads[m]; wasVersions = versions[m];
  wasJudged = judged[m]; wasJudgedVersions = judgedVersions[m];
  was0 = CLOCK(m, 0); was1 = CLOCK(m, 1); was2 = CLOCK(m, 2); keepHeld(m);
  read(m, end);
  if
  :: goesBack(m) ->
     cursor[m] = wasAt; heads[m] = wasHeads; versions[m] = wasVersions;
     judged[m] = wasJudged; judgedVersions[m] = wasJudgedVersions;
     CLOCK(m, 0) = was0; CLOCK(m, 1) = was1; CLOCK(m, 2) = was2; restoreHeld(m)
  :: else
  fi
}

/* The place of change `d` in the log, and one more; 0 when everybody has passed it. */
inline behind(d, result) {
  j = 0;
  do
  :: j < end && log[j] != d -> j++
  :: else -> break
  od;
  result = (j < end -> j + 1 : 0)
}

/* A member stands behind changes of its own: there is nothing to read in them. */
inline settle(m) {
  do
  :: cursor[m] < end && !isCut(log[cursor[m]]) && author(log[cursor[m]]) == m -> cursor[m] = cursor[m] + 1
  :: else -> break
  od
}

#define shown (heads[0] | heads[1] | heads[2] | heads[3] | judged[0] | judged[1] | judged[2] | judged[3])
#define shownBeneath (versions[0] | versions[1] | versions[2] | versions[3] | \
  judgedVersions[0] | judgedVersions[1] | judgedVersions[2] | judgedVersions[3])
#define leastOf(a, b) ((a) < (b) -> (a) : (b))

/* What everybody has passed is forgotten, and of sets of changes what is neither shown nor still to be read. */
inline forget() {
#ifndef WHOLE
  least = leastOf(cursor[0], cursor[1]); least = leastOf(least, cursor[2]);
  do
  :: least > 0 ->
     c = log[0];
     if
     :: isCut(c) -> cut[c - CHANGES] = 0
     :: else -> CTX(c, 0) = 0; CTX(c, 1) = 0; CTX(c, 2) = 0; over[c] = 0; inserts = inserts & ~bit(c)
     fi;
     j = 1;
     do
     :: j < end -> log[j - 1] = log[j]; j++
     :: else -> break
     od;
     end--; log[end] = 0; cursor[0] = cursor[0] - 1; cursor[1] = cursor[1] - 1; cursor[2] = cursor[2] - 1; least--
  :: else -> break
  od;
  kept = 0; j = 0;
  do
  :: j < end ->
     if
     :: !isCut(log[j]) -> kept = kept | bit(log[j])
     :: else
     fi;
     j++
  :: else -> break
  od;
  deletes = deletes & (kept | shown); j = 0;
  do
  :: j < end ->
     if
     :: !isCut(log[j]) -> over[log[j]] = over[log[j]] & (kept | shown | shownBeneath)
     :: else -> cut[log[j] - CHANGES] = cut[log[j] - CHANGES] & deletes
     fi;
     j++
  :: else -> break
  od
#else
  skip
#endif
}

inline foreseeAll() {
  foresee(0); foresee(1); foresee(2); settle(0); settle(1); settle(2); forget();
  i = 0; j = 0; c = 0; kept = 0; least = 0; was0 = 0; was1 = 0; was2 = 0;
  wasAt = 0; wasHeads = 0; wasVersions = 0; wasJudged = 0; wasJudgedVersions = 0
}

/* Member `m` writes where it has read to, and pushes. */
inline push(m, deed) {
  c = m * WRITES + written[m]; i = c;
  CTX(c, 0) = CLOCK(m, 0); CTX(c, 1) = CLOCK(m, 1); CTX(c, 2) = CLOCK(m, 2);
  over[c] = judged[m] | judgedVersions[m]; rememberSeen(m);
  inserts = inserts | (deed == INSERT -> bit(c) : 0); deletes = deletes | (deed == DELETE -> bit(c) : 0);
  printf("member %d writes %e as change %d, having read %d of %d; context %d %d %d\n",
    m, deed, c, cursor[m], end, CTX(c, 0), CTX(c, 1), CTX(c, 2));
  written[m] = written[m] + 1;
  apply(m); hold(m); check(m);
  meet(4, "a row is written anew after it was forgotten", cuts > 0 && has(inserts, c) && CTX(c, m) == 0 && seqOf(c) > 1);
  meet(5, "a write from before the cut comes after it", cuts > 0 && cursor[m] < end && isCut(log[end - 1]));
  meet(6, "a write on top of a tombstone comes to a server that has forgotten it", heads[SERVER] == 0 && CTX(c, author(c)) + 1 == seqOf(c) && seqOf(c) > 1);
  log[end] = c; end++;
  apply(SERVER); hold(SERVER); check(SERVER);
  foreseeAll()
}

#define reachFor(m) if :: author(i) != m && cursor[m] < least -> read(m, least) :: else fi

/* The server cuts: `covered` are the deletes that the cut covers. Who still writes has read up to them. */
inline cutNow(covered) {
  cut[cuts] = covered; i = 0;
  do
  :: i < CHANGES ->
     if
     :: has(covered, i) ->
        printf("the server cuts, and covers change %d\n", i);
#if !defined(SKIP_A) && !defined(SKIP_C)
        behind(i, least); reachFor(0); reachFor(1); reachFor(2)
#endif
     :: else
     fi;
     i++
  :: else -> break
  od;
  log[end] = CHANGES + cuts; end++; c = CHANGES + cuts; cuts++;
  collect(SERVER); check(SERVER);
  foreseeAll()
}

#ifdef SKIP_D
/* Cuts that a member has heard of, by whatever way. */
byte heard[M];
inline hear(m) {
  c = CHANGES + heard[m]; heard[m] = heard[m] + 1;
  printf("member %d hears of cut %d sooner, having read %d of %d\n", m, c - CHANGES, cursor[m], end);
  collect(m); check(m)
}
#endif

#define mayStandAt(m, place) (place == end || isCut(log[place]) || author(log[place]) != m)

active proctype world() {
  byte who = 0; byte place = 0; mtype deed = NONE; SET covered = 0;
  do
  :: atomic {
       if
       :: who = 0
       :: who = 1
       :: who = 2
       fi;
       if
       :: mayWrite(who) ->
          place = cursor[who];
          do
          :: place < end -> place++
          :: mayStandAt(who, place) -> break
          od;
          skip;
          d_step { skip; read(who, place); place = 0 }
          if
          :: !isAlive(who) -> deed = INSERT
          :: isAlive(who) -> deed = UPDATE
          :: isAlive(who) -> deed = DELETE
          fi;
          d_step { push(who, deed); who = 0; deed = NONE }
       :: who == 0 && cuts < CUTS && deletes != 0 ->
#ifdef SKIP_A
          covered = deletes;
#else
          place = 0;
          do
          :: place < CHANGES ->
             if
             :: true
             :: isDelete(place) -> covered = covered | bit(place)
             fi;
             place++
          :: else -> break
          od;
#endif
          if
          :: covered != 0 -> d_step { place = 0; cutNow(covered); covered = 0 }
          :: else -> place = 0; covered = 0
          fi
#ifdef SKIP_D
       :: heard[who] < cuts ->
          place = cursor[who];
          do
          :: place < end -> place++
          :: mayStandAt(who, place) -> break
          od;
          skip;
          d_step { skip; read(who, place); place = 0; hear(who); foreseeAll(); who = 0 }
#endif
       :: else -> who = 0
       fi
     }
  od
}
