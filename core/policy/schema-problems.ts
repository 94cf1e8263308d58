// SPDX-License-Identifier: Apache-2.0
// Checks a document against the schema and turns what zod found into problems with places and suggestions.

import { z } from 'zod';
import type { ProfileDocument } from './document.ts';
import type { ProblemList } from './problem.ts';
import { suggestion } from './suggest.ts';

/** The typed value, or undefined with the problems added. */
export function checkSchema<T>(document: ProfileDocument, schema: z.ZodType<T>, problems: ProblemList): T | undefined {
  const result = schema.safeParse(document.value);
  if (result.success) return result.data;
  for (const issue of result.error.issues) addIssue(issue, document, schema, problems);
  return undefined;
}

function addIssue(issue: z.core.$ZodIssue, document: ProfileDocument, schema: z.ZodType, problems: ProblemList): void {
  const path = issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step));
  const name =
    path.length === 0 ? 'the profile' : `"${path.findLast((step) => typeof step === 'string') ?? path.at(-1)}"`;
  switch (issue.code) {
    case 'unrecognized_keys':
      for (const key of issue.keys) {
        const known = keysAt(schema, path);
        const list = known.length === 0 ? '' : `; known here: ${known.join(', ')}`;
        problems.add(
          document.atKey([...path, key]),
          'unknown-key',
          `unknown key "${key}"${suggestion(key, known) || list}`,
        );
      }
      return;
    case 'invalid_type':
    case 'invalid_value':
      if (valueAt(document.value, path) === undefined) {
        problems.add(document.at(path), 'missing-key', `the key ${name} is missing`);
      } else if (issue.code === 'invalid_type') {
        problems.add(document.at(path), 'wrong-type', `${name} must be ${typeName(issue.expected)}`);
      } else {
        const found = String(valueAt(document.value, path));
        const values = issue.values.map(String);
        problems.add(
          document.at(path),
          'wrong-value',
          `${name} must be ${values.join(' or ')}, not "${found}"${suggestion(found, values)}`,
        );
      }
      return;
    case 'too_small':
      problems.add(
        document.at(path),
        'wrong-value',
        issue.origin === 'number' ? `${name} must be ${issue.minimum} or more` : `${name} must not be empty`,
      );
      return;
    case 'too_big':
      problems.add(document.at(path), 'wrong-value', `${name} must be ${issue.maximum} or less`);
      return;
    default:
      problems.add(document.at(path), 'wrong-value', `${name}: ${issue.message}`);
  }
}

function typeName(expected: string): string {
  const words: Readonly<Record<string, string>> = {
    array: 'a list',
    object: 'a mapping of keys',
    record: 'a mapping of names',
    string: 'text',
    boolean: 'true or false',
    int: 'a whole number',
    number: 'a number',
  };
  return words[expected] ?? expected;
}

function valueAt(value: unknown, path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>(
    (at, step) => (at !== null && typeof at === 'object' ? Reflect.get(at, step) : undefined),
    value,
  );
}

/** The keys that the schema knows at this path. */
function keysAt(schema: z.ZodType, path: readonly (string | number)[]): readonly string[] {
  let at: unknown = schema;
  for (const step of path) {
    at = unwrapped(at);
    if (at instanceof z.ZodObject) at = at.shape[step];
    else if (at instanceof z.ZodArray) at = at.element;
    else if (at instanceof z.ZodRecord) at = at.valueType;
  }
  at = unwrapped(at);
  return at instanceof z.ZodObject ? Object.keys(at.shape) : [];
}

function unwrapped(schema: unknown): unknown {
  return schema instanceof z.ZodOptional ? unwrapped(schema.unwrap()) : schema;
}
