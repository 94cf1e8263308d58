// SPDX-License-Identifier: Apache-2.0
import type { z } from 'zod';
import { RatchetError } from '../errors.ts';
import type { EventStream } from '../launch/events.ts';
import type { Sandbox } from '../launch/sandbox.ts';
import type { Vmm } from '../vmm/vmm.ts';

/** What a control socket serves: one sandbox, or a group of them. */
export interface Controlled {
  readonly events: EventStream;
  /** @throws RatchetError ARGUMENT_INVALID for a command that there is not, or arguments that it does not take. */
  perform(command: string, commandArguments: unknown): Promise<unknown>;
  /** Whose program is meant, and what is asked of it. @throws RatchetError ARGUMENT_INVALID. */
  target(commandArguments: unknown): { readonly sandbox: Sandbox<Vmm>; readonly given: unknown };
}

export type Command<S> = (subject: S, commandArguments: unknown) => Promise<unknown>;
export type CommandTable<S> = ReadonlyMap<string, Command<S>>;

/** A command that checks its own arguments before anything is done. */
export function row<S, T>(
  name: string,
  schema: z.ZodType<T>,
  handle: (subject: S, commandArguments: T) => unknown,
): [string, Command<S>] {
  return [
    name,
    async (subject, commandArguments) => {
      const checked = schema.safeParse(commandArguments);
      if (checked.success) return await handle(subject, checked.data);
      const issue = checked.error.issues[0];
      throw new RatchetError('ARGUMENT_INVALID', `${name}: ${[...(issue?.path ?? []), issue?.message].join(': ')}`);
    },
  ];
}

/** @throws RatchetError ARGUMENT_INVALID. */
export function findCommand<S>(table: CommandTable<S>, name: string): Command<S> {
  const command = table.get(name);
  if (command !== undefined) return command;
  throw new RatchetError('ARGUMENT_INVALID', `there is no control command ${name}`, {
    next: `there are ${[...table.keys(), 'events', 'exec'].join(', ')}`,
  });
}
