/** The part of the library that is used here: it has no types. */
declare module 'cluster-key-slot' {
  /** The hash slot of a key. */
  const slotOf: (key: string) => number;
  export default slotOf;
}
