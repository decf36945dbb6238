declare module 'lz4js' {
  const lz4: {
    compress(data: Uint8Array, maxSize?: number): Uint8Array;
    decompress(data: Uint8Array, maxSize?: number): Uint8Array;
  };
  export default lz4;
}
