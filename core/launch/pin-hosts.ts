// SPDX-License-Identifier: Apache-2.0
// Host names in the broker's rules. They are looked up once, before anything is started, and what was found stands for the VM's life: a broker may look nothing up, no
// answer that comes later widens a rule, and a broker that takes over knows what the one before knew.
import { lookup } from 'node:dns/promises';
import { RatchetError } from '../errors.ts';
import { ordinaryHost, parseAddressRule, parseIp } from '../policy/address/index.ts';
import type { BrokerRule, PinnedHosts, ResolvedProfile } from '../policy/types.ts';

const maxAnswers = 16;

/** All addresses of a name, as texts. */
export type LookUp = (host: string) => Promise<readonly string[]>;

/** The profile with what its names mean now. @throws RatchetError ADDRESS_INVALID. */
export async function pinHosts(profile: ResolvedProfile, lookUp: LookUp = askSystem): Promise<ResolvedProfile> {
  const rules = profile.stages.flatMap(({ broker }) => broker).filter(({ request }) => request === 'connect');
  const hosts: Record<string, readonly string[]> = {};
  for (const rule of rules) {
    const target = parseAddressRule(rule.target);
    if (target.kind === 'tcp-name') hosts[target.host] ??= await answersFor(target.host, rule, lookUp);
  }
  return Object.keys(hosts).length === 0 ? profile : { ...profile, hosts: hosts satisfies PinnedHosts };
}

/** Each answer is looked at: one that leads to this host, its link or a group of hosts is what an attacker of the name service would give. */
async function answersFor(host: string, rule: BrokerRule, lookUp: LookUp): Promise<readonly string[]> {
  const where = `${rule.source.file}:${rule.source.line}: the host name ${host}`;
  const answers = await lookUp(host).catch((cause: unknown) => {
    throw new RatchetError('ADDRESS_INVALID', `${where} could not be looked up: ${(cause as Error).message}`, {
      errno: String((cause as NodeJS.ErrnoException).code ?? 'ENOTFOUND'),
      next: 'write the IP address, or see that this host can resolve the name',
      cause,
    });
  });
  const unusable = answers.filter((answer) => {
    const ip = parseIp(answer);
    return ip === undefined || !(host === 'localhost' || ordinaryHost(ip));
  });
  if (unusable.length > 0 || answers.length === 0 || answers.length > maxAnswers)
    throw new RatchetError(
      'ADDRESS_INVALID',
      `${where} has ${answers.length} addresses, among them ${unusable.join(', ') || 'none that'} cannot be used`,
      {
        next: 'a name must lead to 1 to 16 addresses of other hosts: write the IP address when that is what you mean',
      },
    );
  return [...new Set(answers)].sort();
}

async function askSystem(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true, verbatim: true })).map(({ address }) => address);
}
