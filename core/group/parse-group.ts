// SPDX-License-Identifier: Apache-2.0
// A group file's text to a group: every mistake with its place, before anything is started.
import { RatchetError } from '../errors.ts';
import { type Path, type ProfileDocument, readDocument } from '../policy/document.ts';
import { type Grant, parseGrant, suggestion } from '../policy/index.ts';
import { type ProblemCode, ProblemList } from '../policy/problem.ts';
import { checkSchema } from '../policy/schema-problems.ts';
import { groupSchema, type RawGroup, type RawMember } from './schema.ts';
import type { GroupSpec, LinkSpec, MemberLayers, MemberSpec, OnEnd, Port } from './spec.ts';
import { startOrder } from './start-order.ts';
import { fillIn, placeholdersOf } from './substitute.ts';

export interface ParseGroupOptions {
  readonly file: string;
  /** Replace the file's variables. */
  readonly variables?: Readonly<Record<string, string>>;
  /** Members of a running group that this is an addition to: clients of its links. */
  readonly running?: readonly string[];
}

/** @throws RatchetError GROUP_INVALID with everything that is wrong, as `file:line:column: message`. */
export function parseGroup(text: string, { file, variables = {}, running = [] }: ParseGroupOptions): GroupSpec {
  const problems = new ProblemList();
  try {
    const document = readDocument(text, file, problems);
    const raw = document && checkSchema(document, groupSchema, problems);
    problems.throwIfAny();
    if (document === undefined || raw === undefined) throw new Error('a document without problems has a value');
    const spec = new Reader(document, raw, problems, running).read(variables);
    problems.throwIfAny();
    return spec;
  } catch (error) {
    if (!(error instanceof RatchetError) || error.code !== 'PROFILE_INVALID') throw error;
    throw new RatchetError('GROUP_INVALID', error.message.replaceAll('the profile', 'the group'), { cause: error });
  }
}

const namePattern = /^[a-z][a-z0-9-]{0,30}$/;
const linkPattern = /^\s*([^\s.]+)\.([^\s.]+)\s*<-\s*([^\s.]+)\.([^\s.]+)\s*$/;

function layersOf({ without, optional, user, mac, cgroup }: Exclude<RawMember['layers'], 'off'>): MemberLayers {
  const [first, last = first] = (user ?? '').split('-').map(Number);
  const users = user === undefined ? undefined : { first: first ?? 0, last: last ?? 0 };
  return {
    without,
    optional,
    users,
    ...(mac === undefined ? {} : { mac }),
    ...(cgroup === undefined ? {} : { cgroup }),
  };
}

class Reader {
  readonly #document: ProfileDocument;
  readonly #raw: RawGroup;
  readonly #problems: ProblemList;
  readonly #running: readonly string[];

  constructor(document: ProfileDocument, raw: RawGroup, problems: ProblemList, running: readonly string[]) {
    this.#running = running;
    this.#document = document;
    this.#raw = raw;
    this.#problems = problems;
  }

  read(variables: Readonly<Record<string, string>>): GroupSpec {
    for (const name of Object.keys(variables))
      if (!Object.hasOwn(this.#raw.variables, name))
        throw new RatchetError('ARGUMENT_INVALID', `the group ${this.#raw.name} has no variable ${name}`, {
          next: `it has ${Object.keys(this.#raw.variables).join(', ') || 'none'}`,
        });
    const values = { ...this.#raw.variables, ...variables };
    const links = this.#raw.links.flatMap((_, index) => this.#link(index) ?? []);
    this.#eachPortOnce(links);
    const members = Object.entries(this.#raw.members).map(([name, raw]) => this.#member(name, raw, values, links));
    if (members.length === 0) this.#add(['members'], 'missing-key', 'a group has at least one member');
    const [, ...others] = Object.entries(this.#raw.members).filter(([, { terminal }]) => terminal);
    for (const [name] of others)
      this.#add(['members', name, 'terminal'], 'duplicate', 'another member has the terminal');
    const { order, cycle } = startOrder(members, links);
    if (cycle.length > 0)
      this.#add(
        ['links'],
        'contradiction',
        `no member can be started first: ${cycle.join(' <- ')} wait for each other`,
      );
    return { name: this.#raw.name, members: order, links };
  }

  #member(
    name: string,
    raw: RawMember,
    variables: Readonly<Record<string, string>>,
    links: readonly LinkSpec[],
  ): MemberSpec {
    const path = ['members', name];
    if (!namePattern.test(name))
      this.#problems.add(this.#document.atKey(path), 'wrong-value', `"${name}" is no name: use a-z, 0-9 and -`);
    const ports = links.flatMap(({ client, server }) => [client, server]).filter(({ member }) => member === name);
    const onEnd = this.#onEnd(name, raw, links);
    return {
      name,
      command: this.#command(path, raw, variables, ports),
      profile: raw.profile,
      features: raw.features,
      allow: this.#grants([...path, 'allow'], raw.allow, variables),
      mayGrant: this.#grants([...path, 'may-grant'], raw['may-grant'], variables),
      stage: raw.stage,
      onEnd,
      terminal: raw.terminal,
      layers: raw.layers === 'off' ? undefined : layersOf(raw.layers),
    };
  }

  #command(
    path: Path,
    raw: RawMember,
    variables: Readonly<Record<string, string>>,
    ports: readonly Port[],
  ): readonly [string, ...string[]] {
    const at = [...path, 'command'];
    const words = raw.command.flat();
    const names = ports.map(({ port }) => port);
    const used = new Set(words.flatMap(placeholdersOf));
    for (const name of used)
      if (!names.includes(name) && !Object.hasOwn(variables, name))
        this.#add(
          at,
          'wrong-value',
          `\${${name}} is neither a port of this member nor a variable${suggestion(name, [...names, ...Object.keys(variables)])}`,
        );
    for (const { member, port } of ports)
      if (!used.has(port))
        this.#add(at, 'missing-key', `the link's port ${member}.${port} is not used: write \${${port}}`);
    const [program = '', ...args] = words.map((word) => fillIn(word, variables));
    if (program === '') this.#add(at, 'missing-key', 'the command names no program');
    return [program, ...args];
  }

  #grants(path: Path, texts: readonly string[], variables: Readonly<Record<string, string>>): readonly Grant[] {
    return texts.flatMap((text, index) => {
      try {
        return [parseGrant(fillIn(text, variables), path.at(-1) as string)];
      } catch (error) {
        if (!(error instanceof RatchetError)) throw error;
        this.#add([...path, index], 'wrong-value', error.message);
        return [];
      }
    });
  }

  #onEnd(name: string, raw: RawMember, links: readonly LinkSpec[]): OnEnd {
    const onEnd = raw['on-end'];
    if (typeof onEnd === 'string') return { kind: onEnd };
    const pair = links.find(
      ({ kind, client, server }) => kind === 'pair' && (client.member === name || server.member === name),
    );
    if (pair !== undefined)
      this.#add(
        ['members', name, 'on-end'],
        'contradiction',
        `${name} cannot be restarted: ${pair.client.member}.${pair.client.port} <- ${pair.server.member}.${pair.server.port} is a pair, whose other end would be left without a peer`,
      );
    return { kind: 'restart', times: onEnd.restart, backoffMs: onEnd['backoff-ms'] };
  }

  #link(index: number): LinkSpec | undefined {
    const raw = this.#raw.links[index] ?? '';
    const { link, kind } = typeof raw === 'string' ? { link: raw, kind: 'socket' as const } : raw;
    const found = linkPattern.exec(link);
    if (found === null) {
      this.#add(['links', index], 'syntax', `"${link}" is no link: write CLIENT.PORT <- SERVER.PORT`);
      return undefined;
    }
    const [, clientMember = '', clientPort = '', serverMember = '', serverPort = ''] = found;
    const own = Object.keys(this.#raw.members);
    const known = [...own, ...this.#running];
    if (this.#running.length > 0 && (kind !== 'pair' || !own.includes(serverMember) || own.includes(clientMember)))
      this.#add(
        ['links', index],
        'contradiction',
        'an addition is linked by pairs, its members as servers of running ones',
      );
    for (const member of new Set([clientMember, serverMember]))
      if (!known.includes(member))
        this.#add(['links', index], 'wrong-value', `there is no member "${member}"${suggestion(member, known)}`);
    for (const port of [clientPort, serverPort])
      if (!namePattern.test(port)) this.#add(['links', index], 'wrong-value', `"${port}" is no name of a port`);
    return {
      kind,
      client: { member: clientMember, port: clientPort },
      server: { member: serverMember, port: serverPort },
    };
  }

  #eachPortOnce(links: readonly LinkSpec[]): void {
    const seen = new Set<string>();
    links.forEach(({ client, server }, index) => {
      for (const { member, port } of [client, server]) {
        const name = `${member}.${port}`;
        if (seen.has(name)) this.#add(['links', index], 'duplicate', `the port ${name} is used by two links`);
        if (Object.hasOwn(this.#raw.variables, port))
          this.#add(['links', index], 'duplicate', `the port ${name} has the name of a variable`);
        seen.add(name);
      }
    });
  }

  #add(path: Path, code: ProblemCode, message: string): void {
    this.#problems.add(this.#document.at(path), code, message);
  }
}
