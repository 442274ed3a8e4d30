/**
 * The address of a client, when proxies may stand between it and us.
 *
 * Knows: the peer of a TCP connection, and what `X-Forwarded-For` says. Must never know: what an address may do.
 *
 * Invariants:
 * CA1  The header counts only as far as addresses that are trusted have written it: it is read from its end, and the
 *      first address that is not trusted is the client. What stands before that is the client's own claim.
 * CA2  What is not an address is nobody: whoever put it there is as far as can be told.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { BlockList, isIP } from 'node:net'

/** Proxies by address (`10.0.0.7`) or network (`10.0.0.0/8`). Throws nothing: what is neither is left out and told. */
export function parseNetworks(given: readonly string[]): { readonly networks: BlockList; readonly wrong: string[] } {
  const networks = new BlockList()
  const wrong = given.filter((network) => !addNetwork(networks, network))
  return { networks, wrong }
}

/** Adds it to the list; false when it is neither address nor network. */
export function addNetwork(networks: BlockList, given: string): boolean {
  const [address = '', bits, ...rest] = given.split('/')
  const version = isIP(address)
  if (version === 0 || rest.length > 0) return false
  const family = version === 4 ? 'ipv4' : 'ipv6'
  if (bits === undefined) networks.addAddress(address, family)
  else if (!/^\d{1,3}$/.test(bits) || Number(bits) > (version === 4 ? 32 : 128)) return false
  else networks.addSubnet(address, Number(bits), family)
  return true
}

/** `peer`: of the TCP connection. `forwardedFor`: the header, as Node joins several of them. */
export function clientAddress(peer: string, forwardedFor: string | undefined, trusted: BlockList): string {
  let address = normalize(peer)
  const claims = forwardedFor === undefined ? [] : forwardedFor.split(',')
  while (isTrusted(address, trusted)) {
    const claim = claims.pop()
    if (claim === undefined) break
    const next = normalize(withoutPort(claim.trim()))
    if (isIP(next) === 0) break
    address = next
  }
  return address
}

/** `address` as sockets give it. */
export function isTrustedProxy(address: string, trusted: BlockList): boolean {
  return isTrusted(normalize(address), trusted)
}

function isTrusted(address: string, trusted: BlockList): boolean {
  const version = isIP(address)
  return version !== 0 && trusted.check(address, version === 4 ? 'ipv4' : 'ipv6')
}

/** A dual-stack listener shows IPv4 peers as `::ffff:10.0.0.7`. */
function normalize(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  return mapped?.[1] ?? address
}

/** Some proxies add the port: `192.0.2.1:1234`, `[2001:db8::1]:1234`. */
function withoutPort(claim: string): string {
  const bracketed = /^\[([^\]]+)\](?::\d+)?$/.exec(claim)
  if (bracketed?.[1] !== undefined) return bracketed[1]
  return /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(claim)?.[1] ?? claim
}

/** What proxies have written of whom they speak for. */
export function forwardedFor({ 'x-forwarded-for': header }: IncomingHttpHeaders): string | undefined {
  return Array.isArray(header) ? header.join(',') : header
}
