// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import { ask } from './ask.ts';
import { helperAdapter } from './helper.ts';

/** CMD_GET_CAPABILITY of swtpm's control protocol (swtpm_ioctls(3)), big-endian. */
const getCapability = Buffer.from([0, 0, 0, 1]);

/** swtpm with its control channel inherited (`--ctrl type=unixio,clientfd=N`). It is ready when it tells there what it can do. */
export const swtpmAdapter = helperAdapter('swtpm', {
  answersOn: async (fd, timeoutMs) => {
    const answer = await ask({ fd, question: getCapability, answerBytes: 8, timeoutMs });
    const result = answer.readUInt32BE(0);
    if (result !== 0) throw new RatchetError('VMM_EXITED', `the TPM answers its first command with ${result}`);
  },
});
