/** docs/operations.md: its tables are what the code says, and its commands exist. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { ROUTES } from '../../sync-server/admin/routes.ts'
import { tenantsCommand } from '../../sync-server/commands/tenants.ts'
import { readConfig } from '../../sync-server/config/read-config.ts'
import {
  environmentNameOf,
  flagOf,
  SECTIONS,
  SETTING_KEYS,
  SETTINGS,
  type SettingKey,
  showSetting,
} from '../../sync-server/config/settings.ts'
import { configToOptions } from '../../sync-server/config/to-options.ts'
import { Metrics } from '../../sync-server/metrics.ts'
import { parseServerOptions } from '../../sync-server/options.ts'
import { Tallies } from '../../sync-server/tally.ts'

const text = readFileSync(fileURLToPath(new URL('../../docs/operations.md', import.meta.url)), 'utf8')

function rowOf(key: SettingKey): string {
  const { default: value, help, isSecret = false, isFileOnly = false } = SETTINGS[key]
  const ways = isFileOnly ? '' : `${isSecret ? '' : `\`${flagOf(key)}\` `}\`${environmentNameOf(key)}\``
  return `| \`${key}\` | ${showSetting(key, value) ?? ''} | ${ways} | ${help} |`
}

describe('the table of settings', () => {
  test('has every setting as the code has it, section by section, and no other', () => {
    const expected = SECTIONS.flatMap((section) => [
      `### ${section}`,
      ...SETTING_KEYS.filter((key) => SETTINGS[key].section === section).map(rowOf),
    ])
    const [, part = ''] = /## Settings\n([\s\S]*?)\n## /.exec(text) ?? []
    const shown = part.split('\n').filter((line) => /^(### |\| `)/.test(line))
    expect(shown).toEqual(expected)
  })
})

describe('the table of metrics', () => {
  test('has every metric of the page with its type and help, and no other', async () => {
    const metrics = new Metrics(() => ({
      tallies: new Tallies(),
      openTenants: 0,
      tenants: [],
      connections: [],
      sockets: 0,
      upstreams: [],
    }))
    const page = await metrics.page()
    metrics.stop()
    const types = new Map([...page.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map((match) => [match[1], match[2]]))
    const expected = [...page.matchAll(/^# HELP (\w+) (.*)$/gm)].map(
      ([, name = '', help = '']) => `| \`${name}\` | ${types.get(name)} | ${help} |`,
    )
    const [, part = ''] = /## Metrics\n([\s\S]*?)\n## /.exec(text) ?? []
    expect(expected.length).toBeGreaterThan(20)
    expect(
      part
        .split('\n')
        .filter((line) => line.startsWith('| `'))
        .sort(),
    ).toEqual(expected.sort())
  })
})

describe('the table of the admin port', () => {
  test('has every route, and names only commands that there are', () => {
    const [, part = ''] = /## The admin port\n([\s\S]*?)\n## /.exec(text) ?? []
    const shown = [...part.matchAll(/^\| `(\w+) (\/[^ `]*)` \|/gm)].map(([, method, path]) => `${method} ${path}`)
    expect(shown.sort()).toEqual(ROUTES.map(({ method, path }) => `${method} /${path.join('/')}`).sort())
    const verbs = new Set(tenantsCommand().commands.map((command) => command.name()))
    const named = [...text.matchAll(/tidemark tenants ([a-z-]+)/g)].map((match) => match[1] ?? '')
    expect(named.length).toBeGreaterThan(10)
    expect(named.filter((verb) => !verbs.has(verb))).toEqual([])
    expect([...verbs].filter((verb) => !named.includes(verb))).toEqual([])
  })
})

test('configurations that are shown are taken', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-operations-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const shown = [...text.matchAll(/^```json\n([\s\S]*?)^```$/gm)].map((match) => match[1] ?? '')
  expect(shown.length).toBeGreaterThan(0)
  for (const [index, content] of shown.entries()) {
    const file = join(folder, `${index}.json`)
    writeFileSync(file, content)
    const config = await readConfig({ flags: new Map([['dev', true]]), environment: {}, file })
    await parseServerOptions(await configToOptions(config))
  }
})
