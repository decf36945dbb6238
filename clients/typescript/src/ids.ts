// Ids of stream entries: two integers of up to 64 bits, compared as such.

/** Is id `a` larger than id `b`? */
export function isAfter(a: string, b: string): boolean {
  const [aMs = '0', aSeq = '0'] = a.split('-');
  const [bMs = '0', bSeq = '0'] = b.split('-');
  return aMs === bMs ? larger(aSeq, bSeq) : larger(aMs, bMs);
}

const larger = (a: string, b: string): boolean => (a.length === b.length ? a > b : a.length > b.length);

/** The ids of `count` entries of one append, of which the first has this id. */
export function idsFrom(first: string, count: number): string[] {
  const [ms = '0', seq = '0'] = first.split('-');
  const most = 2n ** 64n;
  return Array.from({ length: count }, (_, i) => {
    const at = BigInt(seq) + BigInt(i);
    return at < most ? `${ms}-${at}` : `${BigInt(ms) + 1n}-${at - most}`;
  });
}
