// SPDX-License-Identifier: Apache-2.0
// What other programs may import from `ratchet-vmm`.
export { AttachedGroup, AttachedSandbox, attach, attachGroup } from './control/attach.ts';
export { type ErrorCode, type ErrorKind, errorTable, RatchetError } from './errors.ts';
export { Group } from './group/group.ts';
export type { GroupEnd, GroupReport, GroupStatus, MemberStatus } from './group/group-report.ts';
export { type LaunchGroupOptions, launchGroup, readAddition } from './group/launch-group.ts';
export type { SandboxEvent } from './launch/events.ts';
export type { ExitStatus } from './launch/exit-status.ts';
export { launch, launchVmm } from './launch/launch.ts';
export type { LaunchOptions } from './launch/options.ts';
export type { EnforcementReport, Mechanism } from './launch/report.ts';
export { RuntimeGrant, type RuntimeGrantOptions } from './launch/runtime-grant.ts';
export { Sandbox } from './launch/sandbox.ts';
export type { SandboxStatus } from './launch/sandbox-status.ts';
export { OwnedFd } from './owned-fd.ts';
export type { Grant } from './policy/index.ts';
export { type EnterSelfOptions, enterSelf, type SelfReport } from './self/enter-self.ts';
export type { PathRoot, PathUse } from './self/landlock.ts';
export { NothingChanged } from './stages/tighten.ts';
export type { Vmm } from './vmm/vmm.ts';
