// SPDX-License-Identifier: Apache-2.0

export const diskText = 'ratchet-demo-disk';

/** A small raw image whose first sector starts with a text for the guest to read. */
export function demoDisk(): Buffer {
  const image = Buffer.alloc(1024 * 1024);
  image.write(`${diskText}\n`);
  return image;
}
