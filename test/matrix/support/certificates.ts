// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A certificate authority, and a server's and a client's certificate of it, in one folder under the names that QEMU expects. */
export function makeCertificates(folder: string): void {
  mkdirSync(folder, { mode: 0o700 });
  const openssl = (...args: readonly string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const authority = ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=keyCertSign'];
  openssl(
    'req',
    '-x509',
    ...newKey,
    '-keyout',
    'ca-key.pem',
    '-out',
    'ca-cert.pem',
    '-subj',
    '/CN=matrix',
    ...authority,
  );
  for (const role of ['server', 'client']) {
    openssl('req', ...newKey, '-keyout', `${role}-key.pem`, '-out', `${role}.csr`, '-subj', `/CN=${role}`);
    const extensions = ['subjectAltName=DNS:localhost,IP:127.0.0.1', `extendedKeyUsage=${role}Auth`];
    writeFileSync(join(folder, `${role}.ext`), `${extensions.join('\n')}\n`);
    const signing = ['-CA', 'ca-cert.pem', '-CAkey', 'ca-key.pem', '-CAcreateserial', '-days', '2'];
    openssl('x509', '-req', '-in', `${role}.csr`, ...signing, '-extfile', `${role}.ext`, '-out', `${role}-cert.pem`);
  }
}
