// SPDX-License-Identifier: Apache-2.0

/** A promise with its two ends outside (Promise.withResolvers is not in Node 20). */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

export function deferred<T = void>(): Deferred<T> {
  let ends: Omit<Deferred<T>, 'promise'> | undefined;
  const promise = new Promise<T>((resolve, reject) => {
    ends = { resolve, reject };
  });
  return { promise, ...(ends as Omit<Deferred<T>, 'promise'>) };
}

/** Rejects with what `onTimeout` makes when the promise has not settled in time. The loser is not left unhandled. */
export async function withDeadline<T>(promise: Promise<T>, deadlineMs: number, onTimeout: () => Error): Promise<T> {
  const late = deferred<never>();
  const timer = setTimeout(() => late.reject(onTimeout()), deadlineMs);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
    promise.catch(() => undefined);
    late.promise.catch(() => undefined);
  }
}
