// SPDX-License-Identifier: Apache-2.0
import type { SandboxStatus } from '../launch/sandbox-status.ts';

interface Metric {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface Measured {
  readonly status: SandboxStatus;
  /** Added to its own. */
  readonly labels?: Readonly<Record<string, string>>;
}

/** Statuses as Prometheus reads them (text format 0.0.4). Counters go on when a broker takes over. */
export function metricsText(measured: readonly Measured[]): string {
  const all = measured.map(({ status, labels = {} }) => ({
    labels: { vmm: status.vmm, pid: String(status.pid), ...labels },
    metrics: metricsOf(status),
  }));
  // A metric is described once, however many have it.
  return (all[0]?.metrics ?? [])
    .map(({ name, type, help }, index) => {
      const lines = all.map(({ labels, metrics }) => {
        const { value = 0, labels: more = {} } = metrics[index] ?? {};
        const text = Object.entries({ ...labels, ...more }).map(([key, label]) => `${key}="${escaped(label)}"`);
        return `${name}{${text.join(',')}} ${value}\n`;
      });
      return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`;
    })
    .join('');
}

function metricsOf({ broker, stages, stage, threads, grants }: SandboxStatus): readonly Metric[] {
  return [
    {
      name: 'ratchet_stage',
      type: 'gauge',
      help: 'The stage, counted from 0.',
      value: stages.indexOf(stage),
      labels: { stage },
    },
    { name: 'ratchet_vmm_threads', type: 'gauge', help: 'Threads of the VMM.', value: threads.length },
    { name: 'ratchet_broker_up', type: 'gauge', help: 'Whether a broker serves the VMM.', value: broker.alive ? 1 : 0 },
    {
      name: 'ratchet_broker_allowed_total',
      type: 'counter',
      help: 'Requests and calls that were granted.',
      value: broker.allowed,
    },
    {
      name: 'ratchet_broker_denied_total',
      type: 'counter',
      help: 'Requests and calls that were refused.',
      value: broker.denied,
    },
    {
      name: 'ratchet_broker_restarts_total',
      type: 'counter',
      help: 'Brokers that followed one that died.',
      value: broker.restarts,
    },
    { name: 'ratchet_broker_pending', type: 'gauge', help: 'Connections that are being made.', value: broker.pending },
    { name: 'ratchet_broker_grants', type: 'gauge', help: 'Grants in force.', value: grants.length },
  ];
}

function escaped(label: string): string {
  return label.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
