// SPDX-License-Identifier: Apache-2.0
// Prints `N passed, N failed` from vitest's own JSON results. A failure that is no test's (set-up, lint, a file that does not load, an unhandled
// error) counts as one, so that the line never looks better than the exit status.

import { existsSync, readFileSync } from 'node:fs';

const [resultsFile = '', status = '1'] = process.argv.slice(2);
const { passed, failed, skipped } = existsSync(resultsFile)
  ? count(JSON.parse(readFileSync(resultsFile, 'utf8')))
  : none();
const failures = status === '0' ? failed : Math.max(failed, 1);
if (skipped > 0) console.log(`${skipped} skipped`);
console.log(`${passed} passed, ${failures} failed`);

function count(results) {
  const filesThatDidNotLoad = results.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  );
  return {
    passed: results.numPassedTests,
    failed: results.numFailedTests + filesThatDidNotLoad.length,
    skipped: results.numPendingTests + results.numTodoTests,
  };
}

function none() {
  console.log('vitest left no results: set-up, lint or vitest itself failed, see above');
  return { passed: 0, failed: 0, skipped: 0 };
}
