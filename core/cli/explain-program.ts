// SPDX-License-Identifier: Apache-2.0
// What a BPF program, from whatever compiler, answers to one call.

import { type ProgramCase, programCases } from '../formats/import/program.ts';
import { formatCondition } from '../policy/index.ts';
import type { Arch, Condition } from '../policy/types.ts';
import { decodeAction, disassemble, run } from '../simulator/index.ts';
import { Diagrams } from '../verifier/diagram.ts';
import { diagramOf } from '../verifier/diff.ts';
import { atNumber, ofArch } from '../verifier/number-ranges.ts';
import { programOutcomes, withKnown } from '../verifier/outcomes.ts';
import type { AskedCall } from './asked-call.ts';
import { type Answer, shortAction, showAction } from './explain-policy.ts';

/** As of a profile, but that a program has no stages and no rules; `listing` has the instructions on the way to the answer. */
export type ProgramAnswer = Omit<Answer, 'stage' | 'differsIn' | 'cases'> & {
  readonly stage: null;
  readonly cases?: readonly Case[];
  readonly listing?: readonly string[];
};

type Case = Pick<Answer, 'action' | 'errno'> & { readonly when: string; readonly instructions: number };

/** Throws ARGUMENT_INVALID for a program that the kernel would refuse. */
export function explainProgram(program: Uint8Array, arch: Arch, { name, nr, known }: AskedCall): ProgramAnswer {
  const diagrams = new Diagrams();
  const native = ofArch(diagrams, diagramOf(diagrams, program), arch);
  const outcomes = programOutcomes(program, { arch, nr, known });
  const common = { syscall: name, nr, arch, stage: null, role: null, rule: null };
  const pathTo = (returned: number): { instructions: number; path: number[] } => {
    const example = outcomes.find((outcome) => outcome.returned === returned)?.example;
    const path: number[] = [];
    return { instructions: example === undefined ? 0 : run(program, example, path).instructions, path };
  };
  const [only] = outcomes;
  if (outcomes.length === 1 && only !== undefined) {
    const { instructions, path } = pathTo(only.returned);
    const lines = disassemble(program, arch);
    const listing = path.map((pc) => `${String(pc).padStart(5)} ${(lines[pc] ?? '').slice(6)}`);
    return { ...common, ...shortAction(decodeAction(only.returned)), conditional: false, instructions, listing };
  }
  const all = programCases(diagrams, withKnown(diagrams, atNumber(diagrams, native, nr), known));
  const cases = all.map(({ returned, when }, index): Case => {
    const isLast = index === all.length - 1;
    return {
      when: isLast ? 'otherwise' : whenText(when, arch, name),
      ...shortAction(decodeAction(returned)),
      instructions: pathTo(returned).instructions,
    };
  });
  const { action, errno } = cases[0] ?? { action: 'allow', errno: null };
  return { ...common, action, errno, conditional: true, cases };
}

function whenText(when: ProgramCase['when'], arch: Arch, syscall: string): string {
  const condition: Condition | undefined = when;
  return condition === undefined
    ? 'it depends on the instruction pointer'
    : formatCondition(condition, { arch, syscall });
}

/** The whole program with names. Throws ARGUMENT_INVALID for one that the kernel would refuse. */
export function listProgram(program: Uint8Array, arch: Arch): readonly string[] {
  diagramOf(new Diagrams(), program);
  return disassemble(program, arch);
}

/** For people. */
export function showProgramAnswer(answer: ProgramAnswer, file: string): string {
  const head = `${answer.syscall} (${answer.nr}, ${answer.arch}) in ${file}`;
  if (answer.cases !== undefined)
    return [
      `${head}: depends on its arguments`,
      ...answer.cases.map(
        (one) => `  ${showAction(one)} when ${one.when} (${one.instructions} instructions, for example)`,
      ),
    ].join('\n');
  return [`${head}: ${showAction(answer)}, after ${answer.instructions} instructions:`, ...(answer.listing ?? [])].join(
    '\n',
  );
}
