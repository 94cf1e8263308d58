// SPDX-License-Identifier: Apache-2.0
// The commands that ratchet itself uses, and what it reads of their replies. Fields that nobody reads are not described.
import { z } from 'zod';

const ignored = z.unknown();
const threadId = z.number().int().positive();

export const qmpReplies = {
  qmp_capabilities: ignored,
  'query-status': z.object({ status: z.string(), running: z.boolean() }),
  cont: ignored,
  stop: ignored,
  quit: ignored,
  'query-cpus-fast': z.array(z.object({ 'cpu-index': z.number().int(), 'thread-id': threadId })),
  'query-iothreads': z.array(z.object({ id: z.string(), 'thread-id': threadId })),
  'human-monitor-command': z.string(),
  getfd: ignored,
  closefd: ignored,
  'add-fd': z.object({ 'fdset-id': z.number().int().nonnegative(), fd: z.number().int().nonnegative() }),
  'remove-fd': ignored,
  'query-fdsets': z.array(
    z.object({
      'fdset-id': z.number().int().nonnegative(),
      fds: z.array(z.object({ fd: z.number().int(), opaque: z.string().optional() })),
    }),
  ),
  netdev_add: ignored,
  netdev_del: ignored,
  device_add: ignored,
  device_del: ignored,
  'object-add': ignored,
  'object-del': ignored,
  'blockdev-add': ignored,
  'blockdev-del': ignored,
  'query-hotpluggable-cpus': z.array(
    z.object({ type: z.string(), props: z.record(z.string(), z.number()), 'qom-path': z.string().optional() }),
  ),
  'blockdev-mirror': ignored,
  'block-job-cancel': ignored,
  'query-block-jobs': z.array(z.object({ device: z.string(), offset: z.number() })),
  'nbd-server-start': ignored,
  'nbd-server-stop': ignored,
  'block-export-add': ignored,
  'migrate-set-capabilities': ignored,
  'migrate-set-parameters': ignored,
  migrate: ignored,
  'migrate-incoming': ignored,
  'migrate-continue': ignored,
  migrate_cancel: ignored,
  'query-migrate': z.object({
    status: z.string().optional(),
    'error-desc': z.string().optional(),
    'total-time': z.number().optional(),
    downtime: z.number().optional(),
    ram: z.object({ transferred: z.number(), 'multifd-bytes': z.number().optional() }).optional(),
  }),
} as const satisfies Record<string, z.ZodType>;

export type QmpCommand = keyof typeof qmpReplies;
export type QmpReply<Name extends QmpCommand> = z.infer<(typeof qmpReplies)[Name]>;

type Options = Readonly<Record<string, unknown>>;

interface DescribedArguments {
  'human-monitor-command': { readonly 'command-line': string };
  getfd: { readonly fdname: string };
  closefd: { readonly fdname: string };
  'add-fd': { readonly 'fdset-id'?: number; readonly opaque?: string };
  'remove-fd': { readonly 'fdset-id': number; readonly fd?: number };
  netdev_add: Options & { readonly type: string; readonly id: string };
  netdev_del: { readonly id: string };
  device_add: Options & { readonly driver: string; readonly id: string };
  device_del: { readonly id: string };
  'object-add': Options & { readonly 'qom-type': string; readonly id: string };
  'object-del': { readonly id: string };
  'blockdev-add': Options & { readonly driver: string; readonly 'node-name': string };
  'blockdev-del': { readonly 'node-name': string };
  'blockdev-mirror': Options & { readonly device: string; readonly target: string };
  'block-job-cancel': { readonly device: string; readonly force?: boolean };
  'nbd-server-start': { readonly addr: Options };
  'block-export-add': Options & { readonly type: string; readonly id: string };
  'migrate-set-capabilities': {
    readonly capabilities: readonly { readonly capability: string; readonly state: boolean }[];
  };
  'migrate-set-parameters': Readonly<Record<string, number>>;
  migrate: { readonly uri: string };
  'migrate-incoming': { readonly uri: string };
  'migrate-continue': { readonly state: 'pre-switchover' };
}

export type QmpArguments<Name extends QmpCommand> = Name extends keyof DescribedArguments
  ? DescribedArguments[Name]
  : Readonly<Record<string, never>>;
