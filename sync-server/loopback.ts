/**
 * Loopback: which addresses, names and origins are this machine and nobody else's.
 */
import { isIPv4, isIPv6 } from 'node:net'

/** `host`: an address, or `localhost`. Other names may point anywhere. */
export function isLoopbackHost(host: string): boolean {
  const name = host.replace(/^\[(.*)\]$/, '$1').toLowerCase()
  if (isIPv4(name)) return name.startsWith('127.')
  if (isIPv6(name)) return name === '::1' || /^::ffff:127\./.test(name)
  return name === 'localhost'
}

/** Of the headers `Origin` (a URL) and `Host` (with or without a port). */
export function isLoopbackUrl(text: string): boolean {
  const url = text.includes('://') ? text : `http://${text}`
  return URL.canParse(url) && isLoopbackHost(new URL(url).hostname)
}
