// SPDX-License-Identifier: Apache-2.0
import type { Row } from '../row.ts';
import { makeCertificates } from '../support/certificates.ts';
import { moveBy, startPair } from '../support/migrate.ts';

/** GnuTLS reads the files of an object by itself, after access(2): so they come with the command line. */
function credentials(endpoint: 'client' | 'server', folder: string): readonly string[] {
  return ['-object', `tls-creds-x509,id=tls0,endpoint=${endpoint},dir=${folder},verify-peer=on`];
}

export const migrationTls: readonly Row[] = (
  [
    ['TLS over tcp, x509', {}],
    ['multifd with TLS over tcp', { capabilities: ['multifd'], parameters: { 'multifd-channels': 4 } }],
  ] as const
).map(
  ([operation, settings]): Row => ({
    operation,
    way: 'transparent',
    ...(operation.startsWith('multifd') ? {} : { longOnly: true }),
    run: async (scene) => {
      const folder = scene.path();
      makeCertificates(folder);
      const pair = await startPair(scene, {
        source: credentials('client', folder),
        destination: credentials('server', folder),
      });
      const parameters = 'parameters' in settings ? settings.parameters : {};
      await moveBy(pair, 'tcp:127.0.0.1:4444', {
        ...settings,
        parameters: { ...parameters, 'tls-creds': 'tls0', 'tls-hostname': 'localhost' },
      });
    },
  }),
);
