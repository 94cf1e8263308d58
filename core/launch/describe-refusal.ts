// SPDX-License-Identifier: Apache-2.0
import type { SandboxEvent } from './events.ts';

/** A refusal in one line for people: the call, its arguments, the errno and the profile line that would permit it. */
export function describeRefusal(event: SandboxEvent): string {
  const called = Object.entries((event['args'] ?? {}) as Readonly<Record<string, unknown>>)
    .map(([name, value]) => `${name}=${value}`)
    .join(', ');
  const rule = event['rule'] as { readonly file: string; readonly line: number } | null;
  const where = rule === null ? 'no rule permits it' : `${rule.file}:${rule.line}`;
  const fix = event['fix'] === null ? '' : `; to permit: ${event['fix']}`;
  const features = (event['features'] ?? []) as readonly string[];
  const orFeature = features.length === 0 ? '' : `, or ${features.map((name) => `--feature ${name}`).join(' or ')}`;
  const earlier = typeof event['allowedIn'] === 'string' ? ` (stage ${event['allowedIn']} permitted it)` : '';
  const soak = event['soak'] === 'enforced' ? ' in soak too' : '';
  const verdict =
    event['soak'] === 'permitted' ? `let through in soak, else -${event['errno']}` : `-${event['errno']}${soak}`;
  return printable(`${event['syscall']}(${called}) = ${verdict} ${whoOf(event)}, ${where}${earlier}${fix}${orFeature}`);
}

function whoOf(event: SandboxEvent): string {
  if (event['door'] === 'launcher') return 'for the launcher';
  if (event['door'] === 'agent') return `for agent ${printable(String(event['thread']))}`;
  if (event['door'] === 'program') return `in program ${event['thread']}`;
  const role = event['role'] === undefined ? '' : ` (${event['role']})`;
  return `in thread ${event['thread']}${role}`;
}

/** Thread names and paths are the VMM's own words: nothing in them may steer a terminal or begin a line of its own. */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  );
}
