// SPDX-License-Identifier: Apache-2.0
import { readDocument } from './document.ts';
import { ProblemList } from './problem.ts';
import { profileSchema, type RawLayers } from './schema.ts';
import { checkSchema } from './schema-problems.ts';

/** What confines a program besides its filters, as its profile has it. */
export type Layers = RawLayers;

/** The key `layers` of a profile's text; undefined when it has none. @throws PROFILE_INVALID. */
export function readLayers(text: string, file: string): Layers | undefined {
  const problems = new ProblemList();
  const document = readDocument(text, file, problems);
  const raw = document && checkSchema(document, profileSchema, problems);
  problems.throwIfAny();
  return raw?.layers;
}
