/**
 * Damage: makes a store hold a row that no merge has left there, as a broken disk or a bug would.
 */
import type { Ledger } from '../../core/index.ts'
import type { RowState } from '../../core/row.ts'

/** Puts another state in place of a row; clocks, log and counters stay as they are. */
export async function damage(
  { ledger }: { readonly ledger: Ledger },
  table: string,
  id: string,
  spoil: (row: RowState) => RowState,
): Promise<void> {
  await ledger.submit({
    weight: 1,
    prepare: (inside) => void inside.need(inside.state.internName(table), id),
    apply: (draft, inside) => {
      const entry = inside.need(inside.state.internName(table), id)
      draft.setRow(entry, spoil(entry.state), 'remote')
    },
  })
}
