// SPDX-License-Identifier: Apache-2.0
// Abstract socket names are bytes, NULs included, and compare by length and content. Their text is one-to-one with the bytes.

/** Bytes of a name as written (`\xHH` for any byte, the rest as UTF-8), or undefined when an escape is malformed. */
export function decodeAbstractName(text: string): Uint8Array | undefined {
  const bytes: number[] = [];
  for (const part of text.match(/\\x[0-9a-fA-F]{2}|[^\\]+|\\/g) ?? []) {
    if (part === '\\') return undefined;
    if (part.startsWith('\\x')) bytes.push(Number.parseInt(part.slice(2), 16));
    else bytes.push(...new TextEncoder().encode(part));
  }
  return Uint8Array.from(bytes);
}

/** Canonical text: printable ASCII as it is, everything else escaped. */
export function encodeAbstractName(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) =>
    byte > 0x20 && byte < 0x7f && byte !== 0x5c
      ? String.fromCharCode(byte)
      : `\\x${byte.toString(16).padStart(2, '0')}`,
  ).join('');
}
