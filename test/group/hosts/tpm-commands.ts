// SPDX-License-Identifier: Apache-2.0
// Commands of a TPM 2.0 (TCG "TPM 2.0 Library", part 3) as a guest's shell writes them to /dev/tpm0.

const withSessions = 0x8002;
/** TPM_RS_PW with an empty password: handle, nonce, attributes, authorization value. */
const emptyPassword = '40000009' + '0000' + '00' + '0000';
const ownerHandle = '40000001';
const sha256 = '000b';
/** In the range that owners define. */
const nvIndex = '01800010';
/** TPMA_NV: owner and authorization value may write (bits 1, 2) and read (17, 18). */
const nvAttributes = '00060006';
export const nvBytes = 8;

/** Shell: extends PCR 16, the one for debugging, by a digest of one repeated byte. The value is gone when the TPM is started anew. */
export function extendPcr(byte: number): string {
  return tell(command(0x182, '00000010', `00000001${sha256}${hex(byte, 1).repeat(32)}`));
}

/** Shell: a place in the TPM's memory that stays. */
export function defineNv(): string {
  const place = `${nvIndex}${sha256}${nvAttributes}0000${hex(nvBytes, 2)}`;
  return tell(command(0x12a, ownerHandle, `0000${hex(place.length / 2, 2)}${place}`));
}

export function writeNv(text: string): string {
  const data = Buffer.alloc(nvBytes, text).toString('hex');
  return tell(command(0x137, nvIndex + nvIndex, `${hex(nvBytes, 2)}${data}0000`));
}

/** Shell: prints what is there. It is the last of the answer but for the session: nonce, attributes, value. */
export function readNv(): string {
  const asked = command(0x14e, nvIndex + nvIndex, `${hex(nvBytes, 2)}0000`);
  return `exec 3<>/dev/tpm0; ${tell(asked, '>&3')}; dd bs=4096 count=1 <&3 2>/dev/null | tail -c ${nvBytes + 5} | head -c ${nvBytes}; exec 3<&-`;
}

function command(code: number, handles: string, parameters: string): string {
  const body = `${hex(code, 4)}${handles}${hex(emptyPassword.length / 2, 4)}${emptyPassword}${parameters}`;
  return `${hex(withSessions, 2)}${hex(2 + 4 + body.length / 2, 4)}${body}`;
}

/** In one write: the driver takes it for one command. */
function tell(bytes: string, to = '>/dev/tpm0'): string {
  return `printf '${bytes.replaceAll(/../g, String.raw`\x$&`)}' ${to}`;
}

function hex(value: number, bytes: number): string {
  return value.toString(16).padStart(bytes * 2, '0');
}
