// SPDX-License-Identifier: Apache-2.0

import { describeRefusal } from '../../core/launch/describe-refusal.ts';
import type { SandboxEvent } from '../../core/launch/events.ts';
import { Machines } from './machines.ts';
import { type Area, type Row, rowName } from './row.ts';
import { Scene } from './scene.ts';
import type { SyscallRecorder } from './syscalls.ts';
import type { Vm } from './vm.ts';

export interface RowResult {
  readonly name: string;
  /** `works`: the effect was there. `limited`: QEMU cannot, and did not die of it. */
  readonly outcome: 'works' | 'limited' | 'not run here' | 'failed';
  /** Why it was not run, or what went wrong. */
  readonly detail: string;
  readonly ms: number;
  /** Names of all calls that its VMs made, when they were recorded. */
  readonly syscalls: readonly string[];
}

/** Runs rows one after another and tells each result as it comes. */
export async function runRows(
  areas: readonly Area[],
  options: {
    readonly folder: string;
    /** One machine for all rows that want features. */
    readonly quick?: boolean;
    /** How long a guest works at least, where that is the row. */
    readonly workSeconds: number;
    readonly wanted: (name: string, row: Row) => boolean;
    /** Instead of the shipped one. */
    readonly profile?: Readonly<Record<string, unknown>>;
    readonly recorder?: SyscallRecorder;
    /** A row that works is done and its machines are still there. */
    readonly afterRow?: (name: string, vms: Iterable<Vm>) => Promise<void>;
    /** A row that failed, before its machines are ended. */
    readonly afterFailure?: (vms: Iterable<Vm>) => Promise<void>;
    readonly onResult: (result: RowResult) => void;
  },
): Promise<void> {
  const union = [...new Set(areas.flatMap(({ rows }) => rows.flatMap(({ features }) => features ?? [])))];
  await using machines = new Machines(options.folder, {
    ...(options.quick === true ? { union } : {}),
    ...(options.profile === undefined ? {} : { profile: options.profile }),
  });
  let number = 0;
  for (const area of areas) {
    for (const row of area.rows) {
      number++;
      const name = rowName(area, row);
      if (options.wanted(name, row)) options.onResult(await runRow(machines, { name, row, number, ...options }));
    }
    await machines.endSpecial();
  }
}

interface Running {
  readonly name: string;
  readonly row: Row;
  readonly number: number;
  readonly workSeconds: number;
  readonly recorder?: SyscallRecorder;
  readonly afterRow?: (name: string, vms: Iterable<Vm>) => Promise<void>;
  readonly afterFailure?: (vms: Iterable<Vm>) => Promise<void>;
}

async function runRow(machines: Machines, running: Running): Promise<RowResult> {
  const { name, row, number, workSeconds, recorder } = running;
  const start = performance.now();
  const missing = row.missing?.();
  const result = (outcome: RowResult['outcome'], detail = ''): RowResult => ({
    name,
    outcome,
    detail,
    ms: Math.round(performance.now() - start),
    syscalls: recorder?.take() ?? [],
  });
  if (missing !== undefined) return result('not run here', missing);
  const before = new Map<Vm, number>();
  try {
    await using scene = new Scene({
      machines,
      row,
      number,
      workSeconds,
      onVm: async (vm) => {
        before.set(vm, vm.events.length);
        if (row.untraced !== true) await recorder?.watch(vm);
      },
    });
    try {
      await row.run(scene);
    } catch (error) {
      await running.afterFailure?.(scene.vms);
      throw error;
    }
    for (const vm of scene.vms) await checkHealth(vm, row, before.get(vm) ?? 0);
    await running.afterRow?.(name, scene.vms);
    return result(row.limit === undefined ? 'works' : 'limited');
  } catch (error) {
    const refused = [...before].flatMap(([vm, from]) => refusalsSince(vm, from).slice(0, 5)).map(describeRefusal);
    for (const vm of before.keys()) await machines.discard(vm);
    return result(
      'failed',
      [(error as Error).stack?.split('\n').slice(0, 12).join('\n').slice(-3000), ...refused].join('\n'),
    );
  }
}

/** The operation is done: no VM died of it, no guest stands still, and nothing was refused that the row did not tell of. */
async function checkHealth(vm: Vm, row: Row, from: number): Promise<void> {
  if (vm.endExpected) return;
  vm.checkAlive();
  if (vm.ended === undefined && (await vm.sandbox.vmm.status()).running) await vm.guestGoesOn();
  const unexpected = refusalsSince(vm, from).filter(
    (refusal) => !isForeseen(refusal) && row.expects?.(refusal) !== true,
  );
  const [first] = unexpected;
  if (first !== undefined) throw new Error(`refused: ${describeRefusal(first)}`);
}

/** The profile names what libraries look for and go on without, and answers that it is not there. */
export function isForeseen({ rule, errno, args }: SandboxEvent): boolean {
  return (rule !== null && errno === 'ENOENT') || isAllocators(args);
}

/** glibc's allocator looks there before it makes more arenas or gives memory back, in whichever thread that is; a vCPU may not open these, and the allocator goes on. */
function isAllocators(args: unknown): boolean {
  const { filename } = (args ?? {}) as { readonly filename?: unknown };
  return allocatorsFiles.includes(String(filename));
}
const allocatorsFiles = ['/sys/devices/system/cpu/online', '/proc/stat', '/proc/sys/vm/overcommit_memory'];

function refusalsSince(vm: Vm, from: number): readonly SandboxEvent[] {
  return vm.events.slice(from).filter(({ type }) => type === 'refusal');
}
