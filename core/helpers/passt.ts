// SPDX-License-Identifier: Apache-2.0
import { ask } from './ask.ts';
import { helperAdapter } from './helper.ts';

const frameBytes = 42;

/**
 * An ARP question for 0.0.0.1 from a locally administered address, in QEMU's framing (a 32-bit length before each frame). passt answers for every address but the guest's;
 * it takes the guest's hardware address from the next frame again.
 */
const question = Buffer.concat([
  Buffer.from([0, 0, 0, frameBytes]),
  Buffer.from('ffffffffffff', 'hex'),
  Buffer.from('020000000001', 'hex'),
  Buffer.from('0806', 'hex'),
  Buffer.from('0001080006040001', 'hex'),
  Buffer.from('020000000001', 'hex'),
  Buffer.from('00000000', 'hex'),
  Buffer.from('000000000000', 'hex'),
  Buffer.from('00000001', 'hex'),
]);

/** passt with its wire inherited (`-F N`). It is ready when it answers a question there. */
export const passtAdapter = helperAdapter('passt', {
  answersOn: async (fd, timeoutMs) => {
    await ask({ fd, question, answerBytes: 4 + frameBytes, timeoutMs });
  },
});
