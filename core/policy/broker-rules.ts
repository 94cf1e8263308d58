// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import { brokerRequestKinds } from './actions.ts';
import { parseAddressRule, parsePathRule, pathRuleContains, ruleContains } from './address/index.ts';
import type { Placed } from './library.ts';
import { parseErrno } from './parse-action.ts';
import type { ProblemList } from './problem.ts';
import {
  checkAny,
  checkProgramName,
  deviceContains,
  parseDeviceRule,
  parseMemoryRule,
  parsePairRule,
  parseTapRule,
  tapContains,
} from './resource.ts';
import type { RawBroker, RawBrokerRule } from './schema.ts';
import type { BrokerRequestKind, BrokerRule } from './types.ts';

/** The rows of a `broker` section. */
export function readBroker(placed: Placed<RawBroker>, problems: ProblemList): readonly BrokerRule[] {
  return brokerRequestKinds.flatMap((request) =>
    (placed.raw[request] ?? []).flatMap((raw, index) =>
      readRow({ raw, document: placed.document, path: [...placed.path, request, index] }, request, problems),
    ),
  );
}

const rowKeys = ['grant', 'may-grant', 'refuse'] as const;

function readRow(
  { raw, document, path }: Placed<RawBrokerRule>,
  request: BrokerRequestKind,
  problems: ProblemList,
): readonly BrokerRule[] {
  const keys = rowKeys.filter((name) => raw[name] !== undefined);
  const [key] = keys;
  if (key === undefined || keys.length > 1) {
    problems.add(
      document.at(path),
      'missing-key',
      'a broker rule needs exactly one of "grant", "may-grant" and "refuse"',
    );
    return [];
  }
  if ((raw.refuse === undefined) !== (raw.errno === undefined)) {
    problems.add(document.at(path), 'missing-key', '"refuse" and "errno" belong together in a broker rule');
    return [];
  }
  const refuseErrno =
    raw.errno === undefined ? undefined : parseErrno(raw.errno, document.at([...path, 'errno']), problems);
  return (raw[key] ?? []).flatMap((target, index) => {
    const source = document.at([...path, key, index]);
    try {
      checkTarget(request, target);
    } catch (error) {
      if (!(error instanceof RatchetError)) throw error;
      problems.add(source, 'address', error.message);
      return [];
    }
    const mayGrant = key === 'may-grant' ? { mayGrant: true } : {};
    return [{ request, target, refuseErrno, ...mayGrant, why: raw.why, source }];
  });
}

/** Throws ADDRESS_INVALID when the text is no target of this kind of request. */
export function checkTarget(request: BrokerRequestKind, target: string): void {
  switch (request) {
    case 'connect':
      parseAddressRule(target);
      return;
    case 'bind':
      if (parseAddressRule(target).kind === 'tcp-name')
        throw new RatchetError('ADDRESS_INVALID', `"${target}": a name says nothing about an address of this host`, {
          next: 'write the IP address',
        });
      return;
    case 'open':
      parsePathRule(target);
      return;
    case 'tap':
      parseTapRule(target);
      return;
    case 'device':
      parseDeviceRule(target);
      return;
    case 'memory':
      parseMemoryRule(target);
      return;
    case 'terminal':
      checkAny(target);
      return;
    case 'pair':
      parsePairRule(target);
      return;
    case 'exec':
      checkProgramName(target);
  }
}

/** Whether everything that the target `narrower` names is named by `wider` too. Never true by mistake. */
export function targetContains(request: BrokerRequestKind, wider: string, narrower: string): boolean {
  if (wider === narrower) return true;
  switch (request) {
    case 'connect':
    case 'bind':
      return ruleContains(parseAddressRule(wider), parseAddressRule(narrower));
    case 'open':
      return pathRuleContains(parsePathRule(wider), parsePathRule(narrower));
    case 'tap':
      return tapContains(parseTapRule(wider), parseTapRule(narrower));
    case 'device':
      return deviceContains(parseDeviceRule(wider), parseDeviceRule(narrower));
    case 'memory':
      return parseMemoryRule(narrower) <= parseMemoryRule(wider);
    case 'terminal':
    case 'pair':
    case 'exec':
      return false;
  }
}
