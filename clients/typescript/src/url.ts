// The URL of one server, of a Redis Cluster, or of sentinels: the same forms as in the Python client.
//
//   redis://HOST:PORT/DB                        one server (rediss:// with TLS)
//   unix:///PATH?db=DB                          one server on this machine
//   redis+cluster://HOST:PORT,…                 a Redis Cluster, by some of its nodes
//   redis+sentinel://HOST:PORT,…/NAME/DB        the primary that sentinels know as NAME
import type { RedisOptions } from 'ioredis';
import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';

import { ConfigError } from './errors.js';

/** Host and port of a server. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** What a URL says. `options` go to each connection; the nodes of a cluster, or sentinels, are in `addresses`. */
export interface ParsedUrl {
  readonly kind: 'server' | 'cluster' | 'sentinel';
  readonly addresses: readonly Address[];
  readonly options: RedisOptions;
}

const URL_FORM = /^(redis|rediss|unix)(?:\+(cluster|sentinel))?:\/\/(.*)$/s;
const PORTS = { server: 6379, cluster: 6379, sentinel: 26379 };
/** Options of a URL that mean something to the Python client only. */
const WITHOUT_EFFECT = ['max_connections', 'socket_keepalive', 'socket_read_size'];

/** Parse a URL. Throws ConfigError, which names the fix and hides the password. */
export function parseUrl(url: string): ParsedUrl {
  const refuse = (problem: string): never => {
    throw new ConfigError(`redisUrl ${url.replace(/:\/\/.*@/s, '://…@')} ${problem}`);
  };
  if (/\s/.test(url)) refuse('has a space or line end in it: leave it out (in a password, write %20)');
  const [, base, kind = 'server', rest = ''] = URL_FORM.exec(url) ?? refuse('must start with redis://, rediss:// (TLS), unix://, redis+cluster:// or redis+sentinel://');
  if (base === 'unix' && kind !== 'server') refuse(`must start with redis+${kind}://`);
  const [before, query = ''] = rest.split('?', 2) as [string, string?];
  if (before.includes('#')) refuse("has a '#' in it: leave it out (in a password, write %23)");
  const at = before.lastIndexOf('@');
  const [username, password] = at < 0 ? [] : login(before.slice(0, at), refuse);
  const [hosts = '', ...path] = before.slice(at + 1).split('/');
  const given = new URLSearchParams(query);
  const options = optionsOf(given, base === 'rediss', kind, refuse);
  if (username) options.username = username;
  if (password !== undefined) options.password = password;
  if (base === 'unix') {
    if (hosts !== '' || path.join('') === '') refuse('names no socket: use unix:///absolute/path/to/socket');
    return { kind: 'server', addresses: [], options: { ...options, path: `/${path.join('/')}` } };
  }
  const addresses = hosts.split(',').map((each) => address(each, PORTS[kind as ParsedUrl['kind']], refuse));
  if (kind === 'server' && addresses.length > 1) refuse('names several hosts, which only redis+cluster:// and redis+sentinel:// do');
  if (kind === 'sentinel') {
    const name = decodeURIComponent(path.shift() ?? '');
    if (name === '') refuse('lacks the name of the primary that the sentinels use: use redis+sentinel://HOST:PORT/NAME');
    options.name = name;
  }
  const database = path.join('/');
  if (database !== '') {
    if (kind === 'cluster') refuse('names a database, of which a cluster has only one: leave it out');
    if (!/^\d+$/.test(database)) refuse('has a database that is not a number, such as /0');
    if (given.has('db')) refuse('names a database twice, in its path and as db=: leave one out');
    options.db = Number(database);
  }
  return { kind: kind as ParsedUrl['kind'], addresses, options };
}

function login(text: string, refuse: (problem: string) => never): [string, string?] {
  const colon = text.indexOf(':');
  try {
    return colon < 0 ? [decodeURIComponent(text)] : [decodeURIComponent(text.slice(0, colon)), decodeURIComponent(text.slice(colon + 1))];
  } catch {
    return refuse("has a '%' in its user or password that is no code: write %25");
  }
}

function address(text: string, port: number, refuse: (problem: string) => never): Address {
  const found = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(text);
  if (found === null) refuse("names no host and port such as localhost:6379 (in a password, write '/', '#' and '?' as %2F, %23 and %3F)");
  const number = Number(found![3] ?? port);
  if (number < 1 || number > 65535) refuse('has a port that is not a number from 1 to 65535');
  return { host: found![1] ?? found![2]!, port: number };
}

function optionsOf(given: URLSearchParams, secure: boolean, kind: string, refuse: (problem: string) => never): RedisOptions {
  const options: RedisOptions = {};
  const tls: ConnectionOptions = {};
  for (const [name, value] of given) {
    if (name === 'db') {
      if (kind === 'cluster') refuse('names a database, of which a cluster has only one: leave db= out');
      if (!/^\d+$/.test(value)) refuse('has a database that is not a number: use db=0');
      options.db = Number(value);
    } else if (name === 'username' || name === 'password') options[name] = value;
    else if (name === 'sentinel_username' && kind === 'sentinel') options.sentinelUsername = value;
    else if (name === 'sentinel_password' && kind === 'sentinel') options.sentinelPassword = value;
    else if (name.startsWith('ssl_') && !secure) refuse(`sets ${name}, which needs TLS: use rediss://`);
    else if (name === 'ssl_ca_certs') tls.ca = file(name, value, refuse);
    else if (name === 'ssl_certfile') tls.cert = file(name, value, refuse);
    else if (name === 'ssl_keyfile') tls.key = file(name, value, refuse);
    else if (name === 'ssl_cert_reqs') tls.rejectUnauthorized = value !== 'none';
    else if (name === 'ssl_check_hostname') {
      if (/^(false|0|no|off)$/i.test(value)) tls.checkServerIdentity = () => undefined;
    } else if (!WITHOUT_EFFECT.includes(name)) refuse(`sets ${name}, which this client does not have: leave it out`);
  }
  return secure ? { ...options, tls } : options;
}

function file(name: string, path: string, refuse: (problem: string) => never): Buffer {
  try {
    return readFileSync(path);
  } catch {
    return refuse(`sets ${name} to ${path}, which cannot be read`);
  }
}
