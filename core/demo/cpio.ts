// SPDX-License-Identifier: Apache-2.0
// The "newc" archive that the kernel unpacks as its first root (Documentation/driver-api/early-userspace/buffer-format.rst).
// Times, owners and inode numbers are fixed, so equal contents make equal bytes.

export type ArchiveEntry =
  | { readonly kind: 'folder'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string; readonly data: Uint8Array; readonly executable: boolean }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  | { readonly kind: 'character-device'; readonly path: string; readonly major: number; readonly minor: number };

/** Paths are relative, without a leading slash; a folder comes before what it holds. */
export function packArchive(entries: readonly ArchiveEntry[]): Buffer {
  const parts = entries.map((entry, index) => packEntry(entry, index + 1));
  parts.push(record({ path: 'TRAILER!!!', mode: 0, inode: 0, links: 1, data: Buffer.alloc(0), major: 0, minor: 0 }));
  return Buffer.concat(parts);
}

interface Fields {
  readonly path: string;
  readonly mode: number;
  readonly inode: number;
  readonly links: number;
  readonly data: Uint8Array;
  readonly major: number;
  readonly minor: number;
}

const nothing = Buffer.alloc(0);

function packEntry(entry: ArchiveEntry, inode: number): Buffer {
  const common = { path: entry.path, inode, links: 1, data: nothing, major: 0, minor: 0 };
  switch (entry.kind) {
    case 'folder':
      return record({ ...common, mode: 0o040755, links: 2 });
    case 'file':
      return record({ ...common, mode: entry.executable ? 0o100755 : 0o100644, data: entry.data });
    case 'link':
      return record({ ...common, mode: 0o120777, data: Buffer.from(entry.target) });
    case 'character-device':
      return record({ ...common, mode: 0o020600, major: entry.major, minor: entry.minor });
  }
}

function record({ path, mode, inode, links, data, major, minor }: Fields): Buffer {
  const name = Buffer.from(`${path}\0`);
  const owner = 0;
  const time = 0;
  const device = 0;
  const check = 0;
  const numbers = [
    inode,
    mode,
    owner,
    owner,
    links,
    time,
    data.length,
    device,
    device,
    major,
    minor,
    name.length,
    check,
  ];
  const header = `070701${numbers.map((number) => number.toString(16).padStart(8, '0')).join('')}`;
  return Buffer.concat([padded(Buffer.concat([Buffer.from(header), name])), padded(data)]);
}

/** To a multiple of four bytes. */
function padded(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
