// SPDX-License-Identifier: Apache-2.0
// The form of a group file. Closed: a key that is not here is an error.
import { z } from 'zod';
import { layerNames } from '../layers/plan.ts';
import { cgroupSchema, macSchema } from '../policy/layers-schema.ts';

const word = z.string().min(1);
const grants = z.array(word);

const memberSchema = z.strictObject({
  command: z
    .array(z.union([z.string(), z.array(z.string())], { error: 'each word is text or a list of texts; quote numbers' }))
    .min(1)
    .describe(
      `The program and its arguments; a list inside is taken as its words. \${NAME} is a link's port, or a variable.`,
    ),
  profile: word.optional().describe('A shipped profile or a file. Default: the shipped one of the program.'),
  features: z.array(word).default([]),
  allow: grants
    .default([])
    .describe('What its broker may do on top of the profile: connect=ADDR, bind=ADDR, open=PATH[:ro], tap=NAME.'),
  'may-grant': grants.default([]).describe('What may be granted to it while it runs.'),
  layers: z
    .union([
      z.literal('off'),
      z.strictObject({
        without: z.array(z.enum(layerNames)).default([]).describe('Left out; the report says so.'),
        optional: z
          .array(z.enum(layerNames))
          .default([])
          .describe('May be missing on this kernel; the report says so.'),
        user: z
          .string()
          .regex(/^[1-9]\d{0,9}(-[1-9]\d{0,9})?$/, 'is no user id or range of them, such as 61000-61999')
          .optional()
          .describe('The user that it becomes: an id, or the first of a range that no other member here has.'),
        mac: macSchema.optional(),
        cgroup: cgroupSchema
          .extend({
            parent: z
              .string()
              .regex(/^\/([^/]+(\/[^/]+)*)?$/, 'is no name of a control group, such as /vms.slice')
              .optional()
              .describe(
                "The group beneath which its own is made, as /proc/PID/cgroup has it. Default: the launcher's.",
              ),
          })
          .optional(),
      }),
    ])
    .default({ without: [], optional: [] })
    .describe("What confines it besides the filter: its profile's `layers`. Default: all of them."),
  terminal: z.boolean().default(false).describe('It has the terminal of `ratchet run`. One member at most.'),
  stage: word.optional().describe("The stage that it enters at the barrier. Default: its profile's second."),
  'on-end': z
    .union([
      z.literal('stop-group'),
      z.literal('go-on'),
      z.strictObject({
        restart: z.number().int().min(1).max(100).describe('How often within a minute; after that the group stops.'),
        'backoff-ms': z
          .number()
          .int()
          .min(0)
          .max(60_000)
          .default(100)
          .describe('Before the first restart; doubled each time.'),
      }),
    ])
    .default('stop-group')
    .describe('What its end does to the others.'),
});

const linkSchema = z.union([
  z.string(),
  z.strictObject({
    link: z.string().describe('CLIENT.PORT <- SERVER.PORT'),
    kind: z.enum(['socket', 'pair']).default('socket'),
  }),
]);

/** `links` in short form are sockets. */
export const groupSchema = z.strictObject({
  version: z.literal(1),
  name: z.string().regex(/^[a-z][a-z0-9-]{0,30}$/),
  variables: z.record(z.string(), z.string()).default({}).describe('Defaults; `--set NAME=VALUE` replaces them.'),
  members: z.record(z.string(), memberSchema),
  links: z.array(linkSchema).default([]),
});

export type RawGroup = z.infer<typeof groupSchema>;
export type RawMember = RawGroup['members'][string];
