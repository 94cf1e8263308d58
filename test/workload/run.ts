// SPDX-License-Identifier: Apache-2.0
// Guests that work hard for minutes, on every backend at once: each load is a loop in its guest that ends when its time is over, or when a byte is not what it was.
import { describeRefusal } from '../../core/launch/describe-refusal.ts';
import { Machines as MatrixMachines } from '../matrix/machines.ts';
import { isAtLeast } from '../matrix/qemu-version.ts';
import { isForeseen } from '../matrix/runner.ts';
import { Scene } from '../matrix/scene.ts';
import { guestMs, type Vm } from '../matrix/vm.ts';
import { disks, iothreadId } from './disks.ts';
import { bytesPerTurn, type Load, type MachineName, type Machines } from './load.ts';
import { networks } from './networks.ts';

export const loads: readonly Load[] = [...disks, ...networks];

const featuresOf: Readonly<Record<MachineName, readonly string[]>> = {
  base: [],
  features: ['aio-native', ...(isAtLeast('11.0') ? [] : ['io-uring']), 'discard', 'vhost-user', 'nic-socket'],
  other: ['nic-socket', 'nic-user'],
};

export interface LoadResult {
  readonly name: string;
  readonly features: readonly string[];
  readonly outcome: 'works' | 'failed' | 'not run here';
  /** Why it was not run, or what went wrong. */
  readonly detail: string;
  readonly turns: number;
  /** There and back. */
  readonly mebibytes: number;
}

export interface WorkReport {
  readonly results: readonly LoadResult[];
  /** What the events tell of, but what libraries look for and go on without. */
  readonly refusals: readonly string[];
}

export async function runLoads(
  folder: string,
  {
    seconds,
    wanted,
    say,
  }: { seconds: number; wanted: (load: { readonly name: string }) => boolean; say: (text: string) => void },
): Promise<WorkReport> {
  await using all = new MatrixMachines(folder);
  await using scene = new Scene({
    machines: all,
    row: { operation: 'work', way: 'transparent', run: () => Promise.resolve() },
    number: 0,
    workSeconds: seconds,
    onVm: () => Promise.resolve(),
  });
  const chosen = loads.filter(wanted);
  const machines = await startMachines(scene, chosen);
  const begun: { readonly load: Load; readonly id: string }[] = [];
  const results: LoadResult[] = [];
  for (const load of chosen) {
    const missing = load.missing?.();
    if (missing !== undefined) {
      results.push({ ...blank(load), outcome: 'not run here', detail: missing });
      continue;
    }
    const id = `load${begun.length}`;
    try {
      const turn = await load.prepare(scene, machines);
      await machines[load.on].shell(loop(id, turn, seconds));
      begun.push({ load, id });
      say(`${load.name}: at work`);
    } catch (error) {
      results.push({ ...blank(load), outcome: 'failed', detail: (error as Error).message });
    }
  }
  // A turn that began in time ends in its own.
  const end = performance.now() + seconds * 1000 + guestMs;
  for (const { load, id } of begun) {
    const result = await resultOf(load, id, machines[load.on], end);
    results.push(result);
    say(`${load.name}: ${result.outcome === 'works' ? `${result.turns} turns` : result.detail}`);
  }
  const vms = Object.values(machines);
  for (const vm of vms) vm.checkAlive();
  const inOrder = chosen.flatMap(({ name }) => results.filter((result) => result.name === name));
  return { results: inOrder, refusals: vms.flatMap(refusalsOf) };
}

/** Those that the loads need. */
async function startMachines(scene: Scene, chosen: readonly Load[]): Promise<Machines> {
  const shared = ['-object', 'memory-backend-memfd,id=shared,size=256M,share=on', '-machine', 'memory-backend=shared'];
  const args: Readonly<Record<MachineName, readonly string[]>> = {
    base: ['-object', `iothread,id=${iothreadId}`],
    features: shared,
    other: [],
  };
  const names = new Set(chosen.flatMap(({ on, reaches }) => (reaches === undefined ? [on] : [on, reaches])));
  const started = [...names].map(async (name) => {
    const vm = await scene.start('linux', { args: args[name], features: featuresOf[name] });
    await vm
      .shell(`dd if=/dev/urandom of=/tmp/random bs=64k count=${bytesPerTurn / 65_536} 2>/dev/null`)
      .catch((error) => {
        throw new Error(`${name}: ${vm.ended ?? 'it lives'}`, { cause: error });
      });
    return [name, vm] as const;
  });
  return Object.fromEntries(await Promise.all(started)) as Machines;
}

/** Each turn has other data: the number in front of it moves it along. Leaves ID.turns behind, then ID.done or ID.failed. */
function loop(id: string, turn: string, seconds: number): string {
  const [out, incoming] = [`/tmp/${id}.out`, `/tmp/${id}.in`];
  const now = 'now=$(cut -d . -f 1 /proc/uptime)';
  const step = turn.replaceAll('OUT', out).replaceAll('IN', incoming);
  return [
    `(${now}; end=$((now+${seconds})); n=0;`,
    `while n=$((n+1)); (echo turn $n; cat /tmp/random) | head -c ${bytesPerTurn} >${out}; ${step};`,
    `cmp ${out} ${incoming} || { echo turn $n >/tmp/${id}.failed; exit; };`,
    `echo $n >/tmp/${id}.turns; ${now}; [ $now -lt $end ]; do :; done; mv /tmp/${id}.turns /tmp/${id}.done)`,
    '</dev/null >/dev/null 2>&1 &',
  ].join(' ');
}

async function resultOf(load: Load, id: string, vm: Vm, end: number): Promise<LoadResult> {
  for (;;) {
    vm.checkAlive();
    const failed = await vm.shell(`cat /tmp/${id}.failed 2>/dev/null || true`);
    if (failed !== '') return { ...blank(load), outcome: 'failed', detail: `other bytes came back in ${failed}` };
    const turns = Number(await vm.shell(`cat /tmp/${id}.done 2>/dev/null || true`));
    if (turns > 0) return { ...blank(load), turns, mebibytes: (turns * 2 * bytesPerTurn) / 2 ** 20 };
    if (performance.now() > end) return { ...blank(load), outcome: 'failed', detail: await standstill(id, vm) };
    await vm.shell('sleep 1');
  }
}

async function standstill(id: string, vm: Vm): Promise<string> {
  const seen = await vm.shell(`cat /tmp/${id}.turns; wc -c /tmp/${id}.*; ps -o pid,stat,args | grep -v ' \\['; true`);
  return `it does not end: ${seen.replaceAll(/\s*\n\s*/g, ' | ')}`;
}

function blank({ name, on }: Load): LoadResult {
  return { name, features: featuresOf[on], outcome: 'works', detail: '', turns: 0, mebibytes: 0 };
}

function refusalsOf(vm: Vm): readonly string[] {
  return vm.events.filter((event) => event.type === 'refusal' && !isForeseen(event)).map(describeRefusal);
}
