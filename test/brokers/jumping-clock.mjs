// SPDX-License-Identifier: Apache-2.0
// For `node --import`: the time of day is a year later at one look and a year earlier at the next, as if somebody set the clock all the time.
const yearMs = 365 * 24 * 60 * 60 * 1000;
const { now } = Date;
let looks = 0;

globalThis.Date = class extends Date {
  constructor(...given) {
    super(...(given.length === 0 ? [globalThis.Date.now()] : given));
  }

  static now() {
    looks += 1;
    return now() + (looks % 2 === 0 ? yearMs : -yearMs);
  }
};
