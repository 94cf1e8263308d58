// SPDX-License-Identifier: Apache-2.0
// The form of `layers`, of a profile and of its stages.
import { z } from 'zod';

const names = z.array(z.string());
const whyText = z.string().min(1);

const size = z
  .union([z.number().int().min(0), z.string().regex(/^\d{1,12}[KMGT]?$/, 'is no size, such as 512M')])
  .describe('Bytes, or with K, M, G or T.');
const operations = z.number().int().min(1);

/** Keys as people know them from the controllers. */
export const cgroupSchema = z
  .strictObject({
    memory: size.optional().describe('memory.max: what it uses at most.'),
    swap: size.optional().describe('memory.swap.max. None when `memory` is given and this is not.'),
    pids: z.number().int().min(1).optional().describe('pids.max: threads and processes together.'),
    cpu: z
      .string()
      .regex(/^[1-9]\d{0,5}%$/, 'is no percentage of one CPU, such as 200%')
      .optional()
      .describe('cpu.max: percent of one CPU.'),
    io: z
      .array(
        z.strictObject({
          device: z
            .string()
            .regex(/^(\/dev\/.+|\d+:\d+)$/, 'is neither a path under /dev nor MAJOR:MINOR')
            .describe('A whole block device: its path, or MAJOR:MINOR.'),
          read: size.optional().describe('Bytes a second.'),
          write: size.optional().describe('Bytes a second.'),
          'read-ops': operations.optional().describe('Operations a second.'),
          'write-ops': operations.optional().describe('Operations a second.'),
        }),
      )
      .min(1)
      .optional()
      .describe('io.max, by device.'),
  })
  .describe('A control group of its own (cgroup v2) with these limits; {} for one without.');

/** Paths of the profile's `files`, or of a later stage's. */
const files = z.strictObject({
  read: names.describe('Landlock: what may be read beneath these paths. What `open` grants is added.'),
  write: names.optional().describe('Landlock: what may be written too.'),
  folders: z
    .literal('whole')
    .optional()
    .describe('Landlock: in folders that `open` grants for writing, files are made, renamed, linked and removed too.'),
});

const rlimits = z
  .record(z.string(), z.number().int().min(0))
  .describe('Soft and hard limits, by the names of RLIMIT_ constants in small letters.');

const printable = /^[!-~]([ -~]{0,253}[!-~])?$/;

/** Of the machine's own mandatory access control, which must be loaded there. */
export const macSchema = z
  .strictObject({
    apparmor: z
      .string()
      .regex(printable, 'is no name of an AppArmor profile: one line of at most 255 printable characters')
      .optional()
      .describe('The name of a profile that is loaded, in enforce mode.'),
    selinux: z
      .string()
      .regex(/^[^:\s]+:[^:\s]+:[^:\s]+(:[^\s]+)?$/, 'is no SELinux context: USER:ROLE:TYPE or USER:ROLE:TYPE:RANGE')
      .optional()
      .describe('A context of the loaded policy, into which the launcher may change at an exec.'),
  })
  .refine((mac) => Object.keys(mac).length === 1, 'is either `apparmor: NAME` or `selinux: CONTEXT`')
  .describe('The label of mandatory access control under which it is executed.');

export const layersSchema = z
  .strictObject({
    why: whyText,
    environment: names.describe('The variables that it keeps; all others are taken away.'),
    namespaces: z
      .array(z.enum(['net', 'ipc', 'uts', 'cgroup', 'mount', 'pid']))
      .describe('New namespaces of these kinds; without root a user namespace comes first.'),
    files: files.describe('Everything else of the file system is out of reach, from the first instruction on.'),
    root: z
      .enum(['copy', 'minimal'])
      .optional()
      .describe(
        'With a mount namespace: `copy` (the default) has all that the launcher has, `minimal` what `files` lists and `open` grants.',
      ),
    rlimits: rlimits.optional(),
    cgroup: cgroupSchema.optional(),
    mac: macSchema.optional(),
  })
  .describe('What confines it besides the filter, from before its first instruction to its end.');

/** What can be taken from a running program from outside. */
export const stageLayersSchema = z
  .strictObject({
    why: whyText,
    root: z
      .enum(['granted', 'empty'])
      .optional()
      .describe(
        'Takes everything out of a minimal root (`empty`), or all but what `open` grants (`granted`). What is open or mapped stays; other files are had from the broker then.',
      ),
    files: files
      .optional()
      .describe('Of the files before, these are left; each thread enters a Landlock domain. What is open stays.'),
    rlimits: rlimits.optional(),
    cgroup: cgroupSchema.optional().describe('Limits in addition to those before; the profile has `cgroup` too.'),
  })
  .describe('Layers that are tighter from this stage on. Later stages have them too.');

export type RawStageLayers = z.infer<typeof stageLayersSchema>;
export type RawLayers = z.infer<typeof layersSchema>;
export type RawCgroup = z.infer<typeof cgroupSchema>;
export type Mac = z.infer<typeof macSchema>;
