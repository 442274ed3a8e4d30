/**
 * The rows every subject works on.
 *
 * Knows: how a row looks and how changes to rows are drawn. Must never know: which subject uses it.
 * 1. The same seed gives the same rows and the same updates, on every machine.
 * 2. `title` has exactly 40 characters, `notes` exactly 120, both words of plain English and single spaces, so that
 *    figures of compressing formats mean something.
 * 3. `updates` visits every row once before it visits any row twice, and every update changes the value it sets.
 * 4. Strings are flat (no ropes, no slices of longer strings), so no subject pays for how they were made.
 */

/** `updatedAt` is milliseconds and not a Date: half of the subjects keep plain JSON only. */
export type Row = {
  readonly id: string
  readonly title: string
  readonly done: boolean
  readonly priority: number
  readonly updatedAt: number
  readonly notes: string
}

/** One field of one row: row `id` gets a new `priority`. */
export type Update = { readonly id: string; readonly priority: number }

export type Random = {
  /** A whole number from 0 to `end` - 1. */
  readonly below: (end: number) => number
}

const titleLength = 40
const notesLength = 120
/** Priorities are 0 … 9,999; live workloads use values above, so that a delivered value names its change. */
export const priorityEnd = 10_000
const firstUpdate = Date.UTC(2025, 0, 1)
const yearMs = 365 * 24 * 60 * 60 * 1000

export function rows(count: number, seed = 1): Row[] {
  const random = createRandom(seed)
  return Array.from({ length: count }, () => ({
    id: uuid(random),
    title: text(random, titleLength),
    done: random.below(2) === 1,
    priority: random.below(priorityEnd),
    updatedAt: firstUpdate + random.below(yearMs),
    notes: text(random, notesLength),
  }))
}

export function updates(count: number, of: readonly Row[], seed = 2): Update[] {
  const random = createRandom(seed)
  const order = of.map((_, index) => index)
  const priorities = of.map((row) => row.priority)
  return Array.from({ length: count }, (_, step) => {
    if (step % of.length === 0) shuffle(order, random)
    const index = order[step % of.length]
    priorities[index] = (priorities[index] + 1 + random.below(priorityEnd - 1)) % priorityEnd
    return { id: of[index].id, priority: priorities[index] }
  })
}

/** The sum of all priorities after `changes`: a cheap proof that a replica holds what it should. */
export function prioritySum(of: readonly Row[], changes: readonly Update[]): number {
  const priorityById = new Map(of.map((row) => [row.id, row.priority]))
  for (const { id, priority } of changes) priorityById.set(id, priority)
  let sum = 0
  for (const priority of priorityById.values()) sum += priority
  return sum
}

export function batches<Item>(items: readonly Item[], size: number): Item[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, n) => items.slice(n * size, (n + 1) * size))
}

/** Mulberry32 (Tommy Ettinger, public domain): 32 bits of state, good enough to draw words. */
export function createRandom(seed: number): Random {
  let state = seed | 0
  return {
    below(end) {
      state = (state + 0x6d2b79f5) | 0
      let bits = Math.imul(state ^ (state >>> 15), state | 1)
      bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
      return Math.floor((((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32) * end)
    },
  }
}

/** Fisher-Yates, in place. */
function shuffle(items: number[], random: Random): void {
  for (let last = items.length - 1; last > 0; last--) {
    const other = random.below(last + 1)
    const kept = items[last]
    items[last] = items[other]
    items[other] = kept
  }
}

/** A version 4 UUID: random keys, the harder case for an ordered store. */
function uuid(random: Random): string {
  const bytes = Buffer.from(Array.from({ length: 16 }, () => random.below(256)))
  bytes[6] = (bytes[6] & 0x0f) | 0x40
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  const hex = bytes.toString('hex')
  return flat([hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-'))
}

/** Words until `length` is reached; the last word is cut, and never ends in a space. */
function text(random: Random, length: number): string {
  const drawn: string[] = []
  for (let total = 0; total < length; ) {
    const word = words[random.below(words.length)]
    drawn.push(word)
    total += word.length + 1
  }
  const line = drawn.join(' ').slice(0, length).trimEnd().padEnd(length, 's')
  return flat(line.charAt(0).toUpperCase() + line.slice(1))
}

function flat(ascii: string): string {
  return Buffer.from(ascii, 'latin1').toString('latin1')
}

const words = (
  'about above access account across action active actual added address admin after again agenda agree alarm album ' +
  'alert allow almost alone along already also always amount angle annual answer any apart apple area around arrive ' +
  'article asset assign attach autumn away axle back bag balance band bank base basic basket battery beam bearing ' +
  'because before begin behind below belt bench beside better between bill blade blank block blue board boat boiler ' +
  'bolt book border bottle bottom box bracket branch brass bread break bridge brief bright bring broken brush budget ' +
  'build burn bus button buy cabinet cable call camera can canal car carbon card care carry case cause ceiling ' +
  'cellar center chain chair change charge check chest circle city clamp class clean clear clock close cloth coat ' +
  'cold collect color come common confirm contact copper copy corner cost count cover crane crew cross cup current ' +
  'customer cut daily damp dark date day deal deck deep deliver depth desk detail dial different dinner direct dish ' +
  'door double down draft drain draw drill drive drop dry due during dust duty each early east edge eight electric ' +
  'empty end engine enough enter every exact exit extra face fan farm fast feed fence field file filter final find ' +
  'fire first fit five fix flat floor flow follow for force form forward four frame free fresh from front fuel full ' +
  'garden gas gate gauge gear get give glass go good grease green grid ground group guard half hall hammer hand hard ' +
  'have heat heavy height help high hinge hold hole home hook hose hour house idle in inch index inside inspect iron ' +
  'is it item joint keep key kit label ladder lamp large last late leak left length letter level lever light limit ' +
  'line list little load lock long loose lower main make manual map mark material meter middle mile minute mirror ' +
  'mix model month more motor mount move nail narrow near need new next night north not note number of off office ' +
  'oil old on one open orange order other out over owner pack paint pair panel paper part path pipe place plan plate ' +
  'please plug point pole press pump quarter quick radio rail rain raise read ready record red remove repair replace ' +
  'report rest return right ring road roof room rope round rubber safe same sample screw seal second send sensor set ' +
  'shelf short side signal six slow small socket south spare spring start station steel step stop store street strong ' +
  'supply switch table tank test the then there three time to tool top tower track turn two under unit until valve ' +
  'visit wall warm wash water wear week weight west wheel when white wide window winter wire with wood work yard year'
).split(' ')
