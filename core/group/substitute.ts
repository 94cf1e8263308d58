// SPDX-License-Identifier: Apache-2.0
// `${name}` in the words of a command.

const placeholder = /\$\{([^}]*)\}/g;

export function placeholdersOf(word: string): readonly string[] {
  return [...word.matchAll(placeholder)].map(([, name]) => name ?? '');
}

/** Names that are not among the values stay as they are. */
export function fillIn(word: string, values: Readonly<Record<string, string>>): string {
  return word.replaceAll(placeholder, (whole, name: string) =>
    Object.hasOwn(values, name) ? (values[name] ?? '') : whole,
  );
}
