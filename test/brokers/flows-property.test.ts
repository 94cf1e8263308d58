// SPDX-License-Identifier: Apache-2.0
// The flow cache changes nothing but time: whatever happens, a broker with it and one without answer the same, byte for byte, and leave the same trail.
import { mkdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { RatchetError } from '../../core/errors.ts';
import { World } from './flow-worlds.ts';
import { profileOf, type StageText } from './policy.ts';

const brokered = { kind: 'broker' } as const;
const port = 47_311;
/** Stages that grant by turns more and less: the broker judges by whatever the stage of now says. */
const stageCount = 60;

function profile(folder: string) {
  const all = [
    `connect unix:${folder}/**`,
    `2 connect unix:${folder}/refused`,
    `connect tcp:127.0.0.0/16:${port}-${port + 1}`,
  ];
  const few = [`connect unix:${folder}/d/a`, `connect tcp:127.0.0.1:${port}`];
  const stages: Record<string, StageText> = {};
  for (let epoch = 0; epoch < stageCount; epoch += 1)
    stages[`s${epoch}`] = { rules: epoch % 2 === 0 ? all : few, actions: { connect: brokered } };
  const made = profileOf(stages);
  const mayGrant = made.stages.map((stage) => ({
    ...stage,
    broker: [
      ...stage.broker,
      ...stage.broker.slice(0, 1).map((rule) => ({ ...rule, target: `unix:${folder}/*`, mayGrant: true })),
    ],
  }));
  return { ...made, stages: mayGrant };
}

// Few addresses, each asked for often.
const address = fc.constantFrom(
  ...['unix:F/d/a', 'unix:F/d/a', 'unix:F/b', 'unix:F/refused', 'unix:F/link', 'unix:F/none'],
  ...[`tcp:127.0.0.1:${port}`, `tcp:127.0.0.2:${port}`, `tcp:127.0.0.1:${port + 1}`],
);
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constantFrom('explicit', 'blocking', 'nonblocking'), address }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom('stage', 'grant', 'revoke', 'replace', 'remove', 'relink', 'swap', 'datagram'),
      address: fc.constantFrom('unix:F/d/a', 'unix:F/b'),
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

class Player {
  readonly world: World;
  #epoch = 0;
  #grant: number | undefined;
  #swapped = 0;

  constructor(world: World) {
    this.world = world;
    mkdirSync(`${world.folder}/d`);
    for (const name of ['d/a', 'b']) world.listen(`unix:${world.folder}/${name}`);
    symlinkSync('b', `${world.folder}/link`);
  }

  async play({ kind, address }: Step): Promise<string> {
    const { world } = this;
    const { folder, broker } = world;
    const text = address.replace('F', folder);
    const path = text.slice('unix:'.length);
    switch (kind) {
      case 'explicit':
        return await world.explicit(text);
      case 'blocking':
        return await world.transparent(text);
      case 'nonblocking':
        return await world.transparent(text, 1 | 0o4000);
      case 'datagram':
        return await world.transparent(text, 2);
      case 'stage':
        if (this.#epoch + 1 < stageCount) await broker.client.enterStage(++this.#epoch);
        return kind;
      case 'grant':
        if (this.#grant !== undefined) return 'granted already';
        try {
          this.#grant = await broker.client.grant({ request: 'connect', target: text, throughEpoch: this.#epoch });
          return kind;
        } catch (error) {
          return (error as RatchetError).code;
        }
      case 'revoke':
        if (this.#grant === undefined) return 'nothing granted';
        return String(
          await broker.client.revoke(this.#grant).finally(() => {
            this.#grant = undefined;
          }),
        );
      case 'replace':
        rmSync(path, { force: true });
        world.listen(text);
        return kind;
      case 'remove':
        rmSync(path, { force: true });
        return kind;
      case 'relink': {
        // The file is a link to where it was moved.
        const moved = `${folder}/moved-${this.#swapped++}`;
        rmSync(path, { force: true });
        world.listen(text);
        renameSync(path, moved);
        symlinkSync(moved, path);
        return kind;
      }
      case 'swap':
        // The directory on the way becomes a link to itself, elsewhere.
        renameSync(`${folder}/d`, `${folder}/d-${this.#swapped}`);
        symlinkSync(`d-${this.#swapped++}`, `${folder}/d`);
        return kind;
      default:
        throw new Error(kind);
    }
  }
}

test('whatever is asked for and whatever changes meanwhile, a broker with flows answers and tells the same as one without', async () => {
  let byFlows = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 60, maxLength: 110 }), async (steps) => {
      const players = [
        new Player(await World.start(profile)),
        new Player(await World.start(profile, ['--max-flows', '0'])),
      ] as const;
      // Shared: what listens there is the same for both.
      const tcp = players[0].world.listen(`tcp:127.0.0.1:${port}`);
      const outcomes: string[][] = [];
      for (const player of players) {
        const seen: string[] = [];
        for (const each of steps) seen.push(await player.play(each));
        const { allowed, denied } = await player.world.broker.client.status();
        outcomes.push([...seen, `allowed ${allowed} denied ${denied}`]);
        byFlows += player.world.byFlows;
      }
      tcp.close();
      const trails = [await players[0].world.end(), await players[1].world.end()];
      expect(outcomes[0]).toEqual(outcomes[1]);
      expect(trails[0]).toEqual(trails[1]);
    }),
    { numRuns: 4, endOnFailure: true },
  );
  expect(byFlows).toBeGreaterThan(50);
});
