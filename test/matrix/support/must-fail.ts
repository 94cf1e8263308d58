// SPDX-License-Identifier: Apache-2.0

/** For what a row says is impossible. @throws when it is not. */
export async function mustFail(command: Promise<unknown>): Promise<void> {
  await command.then(
    () => Promise.reject(new Error('it worked after all: its limit is gone')),
    () => undefined,
  );
}
