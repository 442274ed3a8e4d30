/** The address behind proxies: what of X-Forwarded-For is believed, and what is a client's own claim. */
import { BlockList } from 'node:net'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { addNetwork, clientAddress, parseNetworks } from '../../sync-server/client-address.ts'

const { networks: PROXIES } = parseNetworks(['10.0.0.0/8', '127.0.0.1', 'fd00::/8'])

describe('the client is', () => {
  test.each([
    ['the peer, without the header', '192.0.2.1', undefined, '192.0.2.1'],
    ['the peer, when that is no proxy: anybody may send the header', '192.0.2.1', '198.51.100.7', '192.0.2.1'],
    ['whom a trusted proxy names', '10.1.2.3', '198.51.100.7', '198.51.100.7'],
    ['the nearest that no proxy of ours is', '10.1.2.3', '6.6.6.6, 198.51.100.7, 10.9.9.9', '198.51.100.7'],
    ['the farthest proxy, when all are ours', '10.1.2.3', '10.0.0.1, 127.0.0.1', '10.0.0.1'],
    ['the proxy, when it names nothing', '10.1.2.3', '', '10.1.2.3'],
    ['the proxy, when what it names is no address', '10.1.2.3', '198.51.100.7, unknown', '10.1.2.3'],
    ['found with a port behind it', '10.1.2.3', '198.51.100.7:4711', '198.51.100.7'],
    ['found in brackets, with a port', '10.1.2.3', '[2001:db8::7]:4711', '2001:db8::7'],
    ['found behind IPv6 proxies', 'fd00::1', '2001:db8::7, fd12::9', '2001:db8::7'],
    ['written as IPv4 where the listener is dual-stack', '::ffff:10.1.2.3', '::ffff:198.51.100.7', '198.51.100.7'],
  ])('%s', (_what, peer, header, address) => {
    expect(clientAddress(peer, header, PROXIES)).toBe(address)
  })
})

test('CA1: whatever a client claims, one that comes through a proxy is who that proxy says', async () => {
  await fc.assert(
    fc.property(fc.string(), fc.ipV4(), (claim, address) => {
      fc.pre(!address.startsWith('10.') && address !== '127.0.0.1')
      expect(clientAddress('10.0.0.1', `${claim},${address}`, PROXIES)).toBe(address)
      expect(clientAddress(address, claim, PROXIES)).toBe(address)
    }),
  )
})

test('what is neither address nor network is told, not trusted', () => {
  const wrong = ['10.0.0.0/33', '::/129', 'proxy.internal', '', '10.0.0.0/8/8', '10.0.0.0/', '10.0.0.0/-1']
  expect(parseNetworks(['10.0.0.1', ...wrong]).wrong).toEqual(wrong)
  expect(addNetwork(new BlockList(), '10.0.0.0/8')).toBe(true)
})
