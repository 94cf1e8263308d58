// SPDX-License-Identifier: Apache-2.0
// What a profile and the files it includes define by name: lists of calls, groups of rules, features.

import { RatchetError } from '../errors.ts';
import { type Path, type ProfileDocument, readDocument } from './document.ts';
import { formatSource, type ProblemList } from './problem.ts';
import { includeSchema, type RawFeature, type RawInclude, type RawRule } from './schema.ts';
import { checkSchema } from './schema-problems.ts';

/** Part of a document, with the way back to its text. */
export interface Placed<T> {
  readonly raw: T;
  readonly document: ProfileDocument;
  readonly path: Path;
}

/** Reads an included file by its name. Throws RatchetError when there is none. */
export type Include = (name: string) => { readonly text: string; readonly file: string };

export interface Library {
  readonly names: ReadonlyMap<string, Placed<readonly string[]>>;
  readonly groups: ReadonlyMap<string, Placed<readonly RawRule[]>>;
  readonly features: ReadonlyMap<string, Placed<RawFeature>>;
}

/** Gathers the library of the profile itself and, once each, of everything that it includes. */
export function readLibrary(main: Placed<RawInclude>, include: Include, problems: ProblemList): Library {
  const library = { names: new Map(), groups: new Map(), features: new Map() };
  const seen = new Set<string>([main.document.file]);
  const waiting = [main];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    define(next, library, problems);
    for (const [index, name] of (next.raw.include ?? []).entries()) {
      const source = next.document.at(['include', index]);
      const included = readInclude(name, source, include, seen, problems);
      if (included !== undefined) waiting.push(included);
    }
  }
  return library;
}

function readInclude(
  name: string,
  source: ReturnType<ProfileDocument['at']>,
  include: Include,
  seen: Set<string>,
  problems: ProblemList,
): Placed<RawInclude> | undefined {
  let found: ReturnType<Include>;
  try {
    found = include(name);
  } catch (error) {
    if (!(error instanceof RatchetError)) throw error;
    problems.add(source, 'include-failed', `cannot include "${name}": ${error.message}`);
    return undefined;
  }
  if (seen.has(found.file)) return undefined;
  seen.add(found.file);
  const document = readDocument(found.text, found.file, problems);
  const raw = document && checkSchema(document, includeSchema, problems);
  return document && raw && { raw, document, path: [] };
}

type Mutable<T> = { [K in keyof T]: T[K] extends ReadonlyMap<infer N, infer V> ? Map<N, V> : never };

function define({ raw, document }: Placed<RawInclude>, library: Mutable<Library>, problems: ProblemList): void {
  for (const key of ['names', 'groups', 'features'] as const) {
    const table: Map<string, Placed<unknown>> = library[key];
    for (const [name, value] of Object.entries(raw[key] ?? {})) {
      const path = [key, name];
      const other = table.get(name);
      if (other === undefined) table.set(name, { raw: value, document, path });
      else
        problems.add(
          document.atKey(path),
          'duplicate',
          `"${name}" is already defined at ${formatSource(other.document.atKey(other.path))}`,
        );
    }
  }
}
