// SPDX-License-Identifier: Apache-2.0
// A YAML or JSON text, its value, and where each part of the value stands.

import { CORE_SCHEMA, constructFromEvents, type Event, parseEvents, YAMLException } from 'js-yaml';
import { readingBigInts } from './big-integers.ts';
import { type Place, readPlaces } from './places.ts';
import { formatSource, type ProblemList } from './problem.ts';
import { syntaxMessage } from './syntax-message.ts';
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

/** Far more than people write. Each is read where it stands, so a few in one another could make a value of any size. */
const maxAliases = 1000;

/** Reads the text; syntax errors become problems, and then there is no document. `bigints`: whole numbers of any size, as bigint. */
export function readDocument(
  text: string,
  file: string,
  problems: ProblemList,
  { bigints = false }: { readonly bigints?: boolean } = {},
): ProfileDocument | undefined {
  const source = sourceOf(text, file);
  try {
    const events = parseEvents(text, { filename: file });
    const { root, duplicates, documents } = readPlaces(events, text);
    if (documents[1] !== undefined)
      problems.add(source(documents[1]), 'syntax', 'a second document begins here, and only one is read');
    for (const { key, at, first } of duplicates)
      problems.add(source(at), 'duplicate', `the key "${key}" is already at ${formatSource(source(first))}`);
    if (documents.length > 1 || duplicates.length > 0) return undefined;
    return { file, value: constructed(events, text, bigints), ...finder(root, text, source) };
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error;
    problems.add(source(error.mark?.position ?? 0), 'syntax', syntaxMessage(error.reason, text, error.mark?.position));
    return undefined;
  }
}

function constructed(events: Event[], text: string, bigints: boolean): unknown {
  const schema = bigints ? readingBigInts : CORE_SCHEMA;
  const [value = null] = constructFromEvents(events, { source: text, schema, maxAliases });
  return value;
}

/** Offsets to lines and columns. */
function sourceOf(text: string, file: string): (offset: number) => Source {
  let lines: number[] | undefined;
  return (offset) => {
    lines ??= lineStarts(text);
    let low = 0;
    let high = lines.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((lines[middle] as number) <= offset) low = middle;
      else high = middle;
    }
    return { file, line: low + 1, column: offset - (lines[low] as number) + 1 };
  };
}

function lineStarts(text: string): number[] {
  const starts = [0];
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return starts;
}

function finder(root: Place | undefined, text: string, source: (offset: number) => Source) {
  const step = (place: Place | undefined, key: string | number): Place | undefined =>
    typeof key === 'number' && place?.items !== undefined ? place.items[key] : place?.keys?.get(String(key))?.value;
  const find = (path: Path): Place | undefined => path.reduce(step, root);
  const at = (path: Path): Source => {
    let place = root;
    let found = root;
    for (const key of path) {
      place = step(place, key);
      if (place === undefined) break;
      found = place;
    }
    return source(found?.start ?? 0);
  };
  return {
    at,
    atKey(path: Path): Source {
      const key = find(path.slice(0, -1))?.keys?.get(String(path.at(-1)));
      return key === undefined ? at(path) : source(key.start);
    },
    within(path: Path, offset: number): Source {
      const scalar = find(path)?.scalar;
      if (scalar === undefined) return at(path);
      const written = text.slice(scalar.valueStart, scalar.valueEnd);
      return source(scalar.valueStart + offsetInSource(written, scalar.value, offset));
    },
  };
}

/**
 * Indentation, escapes and folded lines make the text in the file differ from its value: walks both, matching the value's characters in order.
 * White space of the value matches any run of it in the file.
 */
function offsetInSource(written: string, value: string, offset: number): number {
  let position = 0;
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
