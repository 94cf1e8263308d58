// SPDX-License-Identifier: Apache-2.0
// msgpackr ships no types for the entry that neither uses `new Function` nor loads a native addon.
declare module 'msgpackr/index-no-eval' {
  export { type Options, Packr } from 'msgpackr';
}
