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
    readonly wanted: (name: string, row: Row) => boolean;
    readonly recorder?: SyscallRecorder;
    readonly onResult: (result: RowResult) => void;
  },
): Promise<void> {
  await using machines = new Machines(options.folder);
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
  readonly recorder?: SyscallRecorder;
}

async function runRow(machines: Machines, { name, row, number, recorder }: Running): Promise<RowResult> {
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
    await using scene = new Scene(machines, row, number, async (vm) => {
      before.set(vm, vm.events.length);
      await recorder?.watch(vm);
    });
    await row.run(scene);
    for (const vm of scene.vms) await checkHealth(vm, row, before.get(vm) ?? 0);
    return result(row.limit === undefined ? 'works' : 'limited');
  } catch (error) {
    const refused = [...before].flatMap(([vm, from]) => refusalsSince(vm, from)).map(describeRefusal);
    return result('failed', [(error as Error).stack, ...refused].join('\n'));
  }
}

/** The operation is done: no VM died of it, no guest stands still, and nothing was refused that the row did not tell of. */
async function checkHealth(vm: Vm, row: Row, from: number): Promise<void> {
  vm.checkAlive();
  if (vm.ended === undefined && (await vm.sandbox.vmm.status()).running) await vm.guestGoesOn();
  const unexpected = refusalsSince(vm, from).filter((refusal) => row.expects?.(refusal) !== true);
  const [first] = unexpected;
  if (first !== undefined) throw new Error(`refused: ${describeRefusal(first)}`);
}

function refusalsSince(vm: Vm, from: number): readonly SandboxEvent[] {
  return vm.events.slice(from).filter(({ type }) => type === 'refusal');
}
