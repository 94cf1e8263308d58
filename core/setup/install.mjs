// SPDX-License-Identifier: Apache-2.0
// Before a build: npm dependencies as the lock file has them now. A checkout that moved on to other packages would fail on a missing module.
import { installDependencies } from './build.mjs';

installDependencies();
