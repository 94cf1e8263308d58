// SPDX-License-Identifier: Apache-2.0
// A YAML or JSON text, its value, and where each part of the value stands.

import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isNode,
  isPair,
  isScalar,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import type { ProblemList } from './problem.ts';
import type { Source } from './types.ts';

export type Path = readonly (string | number)[];

export interface ProfileDocument {
  readonly file: string;
  readonly value: unknown;
  /** Where the value at this path stands, or the nearest thing around it. */
  at(path: Path): Source;
  /** Where the key of the value at this path stands. */
  atKey(path: Path): Source;
  /** Where the character `offset` of the text at this path stands. */
  within(path: Path, offset: number): Source;
}

/** Reads the text; syntax errors become problems, and then there is no document. `bigints`: whole numbers of any size, as bigint. */
export function readDocument(
  text: string,
  file: string,
  problems: ProblemList,
  { bigints = false }: { readonly bigints?: boolean } = {},
): ProfileDocument | undefined {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    uniqueKeys: true,
    prettyErrors: false,
    version: '1.2',
    intAsBigInt: bigints,
  });
  const source = (offset: number): Source => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  for (const { pos, message, code } of [...document.errors, ...document.warnings]) {
    problems.add(source(pos[0]), code === 'DUPLICATE_KEY' ? 'duplicate' : 'syntax', message);
  }
  if (document.errors.length > 0) return undefined;
  let targets: ReadonlyMap<Node, Node | undefined> | undefined;
  /** Aliases lead to the text of their anchor. */
  const resolved = (node: unknown): Node | undefined => {
    if (!isAlias(node)) return isNode(node) ? node : undefined;
    targets ??= targetsOfAliases(document);
    return targets.get(node);
  };
  const find = (path: Path): Node | undefined =>
    path.reduce(
      (node: Node | undefined, step) => (isCollection(node) ? resolved(node.get(step, true)) : undefined),
      resolved(document.contents),
    );
  const at = (path: Path): Source => {
    for (let length = path.length; length >= 0; length--) {
      const range = find(path.slice(0, length))?.range;
      if (range) return source(range[0]);
    }
    return source(0);
  };
  return {
    file,
    value: document.toJS({ maxAliasCount: 100 }),
    at,
    atKey(path) {
      const parent = find(path.slice(0, -1));
      const key = path.at(-1);
      const pair = isMap(parent)
        ? parent.items.find((item) => isPair(item) && isScalar(item.key) && String(item.key.value) === String(key))
        : undefined;
      const range = isScalar(pair?.key) ? pair.key.range : undefined;
      return range ? source(range[0]) : at(path);
    },
    within(path, offset) {
      const node = find(path);
      if (!isScalar(node) || !node.range || typeof node.value !== 'string') return at(path);
      return source(offsetInSource(text.slice(node.range[0], node.range[1]), node.value, offset) + node.range[0]);
    },
  };
}

/** All in one pass: the library's own way looks through the whole document for each of them. */
function targetsOfAliases(document: Document): ReadonlyMap<Node, Node | undefined> {
  const anchors = new Map<string, Node>();
  const targets = new Map<Node, Node | undefined>();
  visit(document, {
    Node(_, node) {
      if (isAlias(node)) targets.set(node, anchors.get(node.source));
      else if (isNode(node) && node.anchor !== undefined) anchors.set(node.anchor, node);
    },
  });
  return targets;
}

/**
 * Quotes, indentation and folded lines make the text in the file differ from its value: walks both, matching the value's characters in order.
 * White space of the value matches any run of it in the file.
 */
function offsetInSource(written: string, value: string, offset: number): number {
  let position = /^[|>][^\n]*\n/.exec(written)?.[0].length ?? 0;
  for (let index = 0; index < value.length; index++) {
    const wanted = value[index] ?? '';
    const isSpace = /\s/.test(wanted);
    while (position < written.length && (isSpace ? !/\s/.test(written[position] ?? '') : written[position] !== wanted))
      position++;
    if (index === offset) return position;
    position++;
  }
  return position;
}
