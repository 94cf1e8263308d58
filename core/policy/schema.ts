// SPDX-License-Identifier: Apache-2.0
// The form of a profile and of the files it includes. Closed: a key that is not here is an error. What the names inside mean is checked when
// the profile is resolved. profiles/profile.schema.json is made from this by profileJsonSchema().

import { z } from 'zod';
import { brokerRequestKinds } from './actions.ts';
import { layersSchema, stageLayersSchema } from './layers-schema.ts';

const names = z.array(z.string());
const whyText = z.string().min(1);

const ruleSchema = z
  .strictObject({
    use: names.optional().describe('Takes over the rules of these groups.'),
    allow: names
      .optional()
      .describe('These calls go to the kernel. "@NAME" stands for the calls listed under `names`.'),
    broker: names.optional().describe("The broker answers these calls by the stage's broker rules."),
    refuse: names.optional().describe('These calls fail with `errno`.'),
    log: names.optional().describe('As allow, and the kernel logs each call.'),
    trap: names.optional().describe('The calling thread gets SIGSYS.'),
    trace: names.optional().describe('A tracer is notified with `data`; without a tracer the call fails with ENOSYS.'),
    'kill-thread': names.optional().describe('The calling thread dies.'),
    'kill-process': names.optional().describe('The whole process dies with SIGSYS.'),
    when: z
      .string()
      .min(1)
      .optional()
      .describe('Only when the arguments are so; `otherwise`: when no other rule for the call matches.'),
    errno: z.string().optional().describe('For refuse: the name of the error, such as EPERM.'),
    quiet: z
      .boolean()
      .optional()
      .describe('For refuse: an expected probe, answered by the kernel alone and not reported.'),
    data: z.number().int().min(0).max(0xffff).optional().describe('For trace: the value the tracer gets.'),
    on: z
      .array(z.enum(['x86_64', 'aarch64', 'riscv64']))
      .min(1)
      .optional()
      .describe('Only on these architectures.'),
    why: whyText.optional().describe('Who needs this and for what. Required on every rule.'),
    risk: whyText
      .optional()
      .describe('What a dangerous call is allowed to do here without a condition, and why that is accepted.'),
  })
  .describe('One rule: exactly one of use, allow, broker, refuse, log, trap, trace, kill-thread, kill-process.');

const brokerRuleSchema = z
  .strictObject({
    grant: z.array(z.string()).min(1).optional().describe('Addresses, paths, names or numbers that the broker serves.'),
    refuse: z.array(z.string()).min(1).optional().describe('Refused with `errno`, whatever else is granted.'),
    'may-grant': z
      .array(z.string())
      .min(1)
      .optional()
      .describe('Grants nothing by itself: the launcher may grant what lies within it while the VM runs.'),
    errno: z.string().optional(),
    why: whyText,
  })
  .describe("One row of the broker's table: grant, may-grant, or refuse with errno.");

const brokerSchema = z.strictObject({
  same: z.literal(true).optional().describe('Keeps the rows of the stage named by `from`.'),
  connect: z.array(brokerRuleSchema).optional(),
  bind: z.array(brokerRuleSchema).optional(),
  open: z.array(brokerRuleSchema).optional(),
  tap: z.array(brokerRuleSchema).optional(),
  device: z
    .array(brokerRuleSchema)
    .optional()
    .describe('Device files by number: char:10:232, block:8:*, with :ro at the end for reading only.'),
  memory: z.array(brokerRuleSchema).optional().describe('Memory files, by the most bytes that one may have: 64M.'),
  terminal: z.array(brokerRuleSchema).optional().describe('Pseudo-terminals: any.'),
  pair: z
    .array(brokerRuleSchema)
    .optional()
    .describe('Pairs of connected unix sockets: stream, datagram or seqpacket.'),
  exec: z.array(brokerRuleSchema).optional().describe('Programs that may be run, by their names in `programs`.'),
});

const changesSchema = {
  keep: names.optional().describe('Keeps the inherited rules of these calls only.'),
  remove: names.optional().describe('Drops the inherited rules of these calls.'),
  syscalls: z
    .array(ruleSchema)
    .optional()
    .describe('In a stage that builds on another, these replace all inherited rules of the calls they name.'),
};

const roleSchema = z
  .strictObject({
    why: whyText,
    default: z.string().optional(),
    ...changesSchema,
    untold: names
      .optional()
      .describe(
        'Calls that every thread makes all the time: nobody is told when a thread of this role is refused one.',
      ),
  })
  .describe('A tighter filter for threads of one role.');

const requiresSchema = z
  .strictObject({
    'no-fds': names
      .optional()
      .describe('No thread holds a descriptor of these kinds, or of these devices (paths under /dev/).'),
    'no-children': z.boolean().optional().describe('The process has no child process.'),
    'same-filters': z.boolean().optional().describe('Every thread has all filters of the stages before.'),
    why: whyText,
  })
  .describe('Checked from outside before the stage is entered, and again when it is on.');

const stageSchema = z.strictObject({
  why: whyText.optional(),
  from: z.string().optional().describe('Builds on this earlier stage.'),
  default: z
    .string()
    .optional()
    .describe(
      'For calls without a rule: "errno NAME", "kill-process", "kill-thread", "trap", "log", "trace N" or "allow".',
    ),
  unknown: z.string().optional().describe('For call numbers newer than the tables.'),
  foreign: z.string().optional().describe('For calls of another ABI.'),
  risk: whyText.optional().describe('Required when a default lets calls through.'),
  ...changesSchema,
  broker: brokerSchema.optional(),
  grants: z
    .literal('closed')
    .optional()
    .describe('What is granted at launch (--allow) or while the VM runs does not hold in this stage.'),
  roles: z.record(z.string(), roleSchema).optional(),
  requires: requiresSchema.optional(),
  layers: stageLayersSchema.optional(),
});

const featureSchema = z.strictObject({
  why: whyText,
  stages: z.record(
    z.string(),
    z.strictObject({
      syscalls: z.array(ruleSchema).optional(),
      broker: brokerSchema.omit({ same: true }).optional(),
      roles: z
        .record(z.string(), z.strictObject({ syscalls: z.array(ruleSchema) }))
        .optional()
        .describe("Rules that are added to a role of the stage. The stage's own additions hold in its roles already."),
      tolerates: names.optional().describe('Kinds of descriptors in `requires: no-fds` that this feature needs.'),
    }),
  ),
});

const sharedSchema = {
  $schema: z.string().optional(),
  version: z.literal(1),
  include: names.optional().describe('Files whose names, groups and features can be used here.'),
  names: z.record(z.string(), names).optional().describe('Lists of calls, written "@NAME" in rules.'),
  groups: z.record(z.string(), z.array(ruleSchema)).optional().describe('Lists of rules, taken over by `use`.'),
  features: z.record(z.string(), featureSchema).optional().describe('Additions that are chosen by name at launch.'),
};

/** A file of groups, for `include`. */
export const includeSchema = z.strictObject(sharedSchema);

const programSchema = z
  .strictObject({
    why: whyText,
    path: z
      .string()
      .min(1)
      .describe('The executable. A link is followed once, at launch; the file must stay the same from then on.'),
    args: names.optional().describe('All of its arguments. Nobody can add any.'),
    stdio: z
      .enum(['streams', 'socket'])
      .optional()
      .describe('streams (the default): stdin and stdout are a socket or a file each. socket: one socket is both.'),
    profile: z
      .string()
      .min(1)
      .optional()
      .describe(
        'The profile, of one stage, that confines it: a shipped one or an absolute path. Default: named-program.',
      ),
    seconds: z.number().int().min(1).max(86_400).optional().describe('It is killed after so long. Default: 600.'),
    'at-once': z.number().int().min(1).max(16).optional().describe('How many of it may run together. Default: 1.'),
  })
  .describe('A program that the broker may have run for the VM, each time exactly so.');

/** A whole profile. The order of `stages` is the order in which they are entered. */
export const profileSchema = z.strictObject({
  ...sharedSchema,
  name: z.string().min(1),
  vmm: z.string().min(1).describe('Which adapter runs the VMM, such as qemu.'),
  layers: layersSchema.optional(),
  programs: z.record(z.string(), programSchema).optional().describe('Programs that `exec` rules can name.'),
  stages: z.record(z.string(), stageSchema),
});

export type RawProgram = z.infer<typeof programSchema>;
export type RawRule = z.infer<typeof ruleSchema>;
export type RawBrokerRule = z.infer<typeof brokerRuleSchema>;
export type RawBroker = z.infer<typeof brokerSchema>;
export type RawStage = z.infer<typeof stageSchema>;
export type RawRequires = z.infer<typeof requiresSchema>;
export type RawRole = z.infer<typeof roleSchema>;
export type RawFeature = z.infer<typeof featureSchema>;
export type RawInclude = z.infer<typeof includeSchema>;
export type RawProfile = z.infer<typeof profileSchema>;

/** Keys of `broker`, checked against the types: a new kind of request must be added to the schema. */
export const brokerKeys = brokerRequestKinds satisfies readonly (keyof z.infer<typeof brokerSchema>)[];

/** JSON Schemas for editors, by file name in profiles/. */
export function profileJsonSchemas(): Readonly<Record<string, unknown>> {
  const options = { target: 'draft-2020-12', reused: 'ref' } as const;
  return {
    'profile.schema.json': { title: 'Ratchet profile', ...z.toJSONSchema(profileSchema, options) },
    'groups.schema.json': { title: 'Groups for ratchet profiles', ...z.toJSONSchema(includeSchema, options) },
  };
}

/** JSON Schema of a whole profile. */
export function profileJsonSchema(): unknown {
  return profileJsonSchemas()['profile.schema.json'];
}
