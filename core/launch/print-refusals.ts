// SPDX-License-Identifier: Apache-2.0
import { describeRefusal, printable } from './describe-refusal.ts';
import type { SandboxEvent } from './events.ts';
import { describeExit, type ExitStatus } from './exit-status.ts';

/** Lines in one window; a VMM that is refused in a loop must not bury everything else that is on the terminal. */
const linesPerWindow = 20;
const windowMs = 1000;

/** Says what goes wrong as it happens, one line an event, until the events end: refusals, a kill by the filter, programs that fail, and the death of the broker. */
export async function printRefusals(events: AsyncIterable<SandboxEvent>, say: (line: string) => void): Promise<void> {
  let windowStart = Number.NEGATIVE_INFINITY;
  let lines = 0;
  let left = 0;
  const tellLeft = (): void => {
    if (left > 0) say(`${left} more refusals were not shown; \`ratchet ctl PATH events\` has them`);
    left = 0;
  };
  for await (const event of events) {
    if (event.type === 'refusal') {
      const now = performance.now();
      if (now - windowStart >= windowMs) {
        tellLeft();
        windowStart = now;
        lines = 0;
      }
      if (lines < linesPerWindow)
        say(`${event['soak'] === 'permitted' ? 'soak' : 'refused'}: ${describeRefusal(event)}`);
      else left++;
      lines++;
    } else if (event.type === 'program' && wentWrong(event))
      say(printable(`program ${event['program']} ${outcomeOf(event)}${wordsOf(event)}`));
    else if (event.type === 'violation') say(printable(String(event['words'])));
    else if (event.type === 'broker' && (event['what'] === 'ended' || event['what'] === 'replaced'))
      say(`the broker (pid ${event['pid']}) ended${replacement(event)}: ${printable(String(event['next']))}`);
  }
  tellLeft();
}

/** Killed by us is no fault: its permission or the VM has ended. */
function wentWrong(event: SandboxEvent): boolean {
  if (event['what'] === 'not started') return true;
  return event['what'] === 'ended' && event['code'] !== 0 && event['signal'] !== 'SIGKILL';
}

function outcomeOf(event: SandboxEvent): string {
  return event['what'] === 'ended' ? describeExit(event as unknown as ExitStatus) : 'was not started';
}

function wordsOf({ words }: SandboxEvent): string {
  return typeof words === 'string' && words !== '' ? `: ${words}` : '';
}

function replacement(event: SandboxEvent): string {
  return event['what'] === 'replaced' ? ` and was replaced by pid ${event['newPid']}` : '';
}
