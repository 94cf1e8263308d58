// SPDX-License-Identifier: Apache-2.0
// Named constants: macro names are listed by the preprocessor, their values computed by a small C program that gcc builds against the
// architecture's headers. Macros that are no integers are found by the compiler's own errors and left out.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { headerOptions, macrosOf, presentHeaders } from './architectures.mjs';
import { newerConstants } from './newer.mjs';

/** For headers that use size_t without including what defines it. */
const compilerHeaders = ['stddef.h'];
const kernelHeaders = [
  'asm/errno.h',
  'asm/ioctls.h',
  'asm/mman.h',
  'asm/prctl.h',
  'asm/resource.h',
  'asm/signal.h',
  'asm/socket.h',
  'asm/sockios.h',
  'asm/termbits.h',
  'linux/blktrace_api.h',
  'linux/blkzoned.h',
  'linux/cdrom.h',
  'linux/close_range.h',
  'linux/eventfd.h',
  'linux/eventpoll.h',
  'linux/falloc.h',
  'linux/fcntl.h',
  'linux/fiemap.h',
  'linux/fs.h',
  'linux/futex.h',
  'linux/if_tun.h',
  'linux/in.h',
  'linux/in6.h',
  'linux/inotify.h',
  'linux/io_uring.h',
  'linux/keyctl.h',
  'linux/kvm.h',
  'linux/loop.h',
  'linux/membarrier.h',
  'linux/memfd.h',
  'linux/mempolicy.h',
  'linux/mman.h',
  'linux/mount.h',
  'linux/netlink.h',
  'linux/openat2.h',
  'linux/perf_event.h',
  'linux/prctl.h',
  'linux/ptrace.h',
  'linux/random.h',
  'linux/resource.h',
  'linux/rseq.h',
  'linux/sched.h',
  'linux/seccomp.h',
  'linux/sockios.h',
  'linux/stat.h',
  'linux/tcp.h',
  'linux/time.h',
  'linux/timerfd.h',
  'linux/udp.h',
  'linux/usbdevice_fs.h',
  'linux/userfaultfd.h',
  'linux/vfio.h',
  'linux/vhost.h',
  'linux/vt.h',
  'linux/wait.h',
];

/** Not in the kernel's exported headers; the values are the same on these three architectures (include/linux/socket.h, asm-generic). */
const libraryHeaders = [
  'sys/socket.h',
  'fcntl.h',
  'sys/mman.h',
  'sys/epoll.h',
  'sys/signalfd.h',
  'linux/vm_sockets.h',
  'scsi/sg.h',
];
const libraryNames = /^(AF|PF|SOCK|MSG|SHUT|SCM|SPLICE_F|SFD|EPOLL|VMADDR|SO_VM|SG)_?[A-Z0-9_]+$/;

const kernelNames =
  /^((IPPROTO|IP|IPV6|SOL|SO|TCP|UDP|NETLINK|VMADDR|PROT|MAP|MADV|MCL|MLOCK|MREMAP|MS|CLONE|O|F|AT|S|FUTEX|PR|ARCH|SECCOMP|SA|SS|SI|EFD|TFD|MFD|UFFD|GRND|RLIMIT|RUSAGE|LOCK|CLOCK|TIMER|STATX|RESOLVE|MEMBARRIER_CMD|MPOL|FALLOC|RWF|CLOSE_RANGE|IORING_SETUP|PTRACE|SCHED|RSEQ|KEYCTL|RENAME|SEEK|XATTR|IN)_[A-Z0-9_]+|SIG[A-Z0-9_]+|CSIGNAL|FD_CLOEXEC|EPOLL[A-Z0-9_]+|TIOC[A-Z0-9_]+|TC[A-Z][A-Z0-9_]*|FIO[A-Z0-9_]+|SIOC[A-Z0-9_]+|W[A-Z]+|P_[A-Z]+|CDROM[A-Z_]+)$/;
/** Constants that the headers define by `enum`, which the preprocessor does not list. */
const enumerated = [
  'MEMBARRIER_CMD_QUERY',
  'MEMBARRIER_CMD_GLOBAL',
  'MEMBARRIER_CMD_GLOBAL_EXPEDITED',
  'MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED',
  'MEMBARRIER_CMD_PRIVATE_EXPEDITED',
  'MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED',
  'MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE',
  'MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE',
  'MPOL_DEFAULT',
  'MPOL_PREFERRED',
  'MPOL_BIND',
  'MPOL_INTERLEAVE',
  'MPOL_LOCAL',
  'MPOL_PREFERRED_MANY',
];

/** ioctl requests, whatever their prefix, are macros made with _IO(). */
const ioctlBody = /^\(?\s*_IO(R|W|WR)?(_BAD)?\(/;
const notWanted =
  /^(SI_LOAD_SHIFT|S_IS[A-Z]+|SIGEV_.*|SIGRTMIN|SIGRTMAX|W[A-Z]*STATUS|SIG_(DFL|IGN|ERR)|IN_CLASS.*|IN_LOOPBACKNET|KVM_GET_DEVICE_ATTR_.*)$/;

/**
 * Name to value, sorted by name. Values are as C gives them: negative ones are negative.
 * @param {import('./architectures.mjs').Arch} arch
 * @returns {ReadonlyMap<string, bigint>}
 */
export function constants(arch) {
  const kernel = [...macrosOf(arch, kernelHeaders)]
    .filter(([name, body]) => (kernelNames.test(name) || ioctlBody.test(body)) && !notWanted.test(name))
    .map(([name]) => name);
  const library = [...macrosOf('x86_64', libraryHeaders).keys()].filter((name) => libraryNames.test(name));
  const values = [
    ...Object.entries(newerConstants),
    ['NULL', 0n],
    ...valuesOf(headerOptions('x86_64'), libraryHeaders, library),
    ...valuesOf(
      headerOptions(arch),
      [...compilerHeaders, ...presentHeaders(arch, kernelHeaders)],
      [...kernel, ...enumerated],
    ),
  ];
  return new Map(values.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

/**
 * @param {readonly string[]} options
 * @param {readonly string[]} headers
 * @param {readonly string[]} names
 * @returns {[string, bigint][]}
 */
function valuesOf(options, headers, names) {
  const folder = mkdtempSync(join(tmpdir(), 'ratchet-tables-'));
  try {
    const source = join(folder, 'constants.c');
    const program = join(folder, 'constants');
    let wanted = [...names];
    for (;;) {
      const first = headers.length + 3;
      writeFileSync(source, programText(headers, wanted));
      const gcc = spawnSync(
        'gcc',
        ['-w', '-Werror=int-conversion', '-fmax-errors=0', ...options, '-c', '-o', `${program}.o`, source],
        {
          encoding: 'utf8',
        },
      );
      if (gcc.status === 0) break;
      const bad = new Set();
      for (const match of gcc.stderr.matchAll(/constants\.c:(\d+):\d+: error/g)) bad.add(Number(match[1]) - first);
      const left = wanted.filter((_, index) => !bad.has(index));
      if (left.length === wanted.length) throw new Error(`gcc cannot build the constants program:\n${gcc.stderr}`);
      if (process.env.RATCHET_TABLES_VERBOSE !== undefined)
        process.stderr.write(`left out: ${wanted.filter((name) => !left.includes(name)).join(' ')}\n`);
      wanted = left;
    }
    execFileSync('gcc', ['-o', program, `${program}.o`]);
    return execFileSync(program, { encoding: 'utf8', maxBuffer: 1 << 26 })
      .trim()
      .split('\n')
      .map((line) => {
        const [name, value] = line.split(' ');
        return [String(name), BigInt(String(value))];
      });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/**
 * One constant a line, so that an error's line number says which one is no integer.
 * @param {readonly string[]} headers
 * @param {readonly string[]} names
 */
function programText(headers, names) {
  return [
    ...headers.map((header) => `#include <${header}>`),
    'extern int printf(const char *, ...);',
    'static const struct { const char *name; long long value; } table[] = {',
    ...names.map((name) => `{"${name}", ${name}},`),
    '};',
    'int main(void) { for (unsigned i = 0; i < sizeof table / sizeof *table; i++) printf("%s %lld\\n", table[i].name, table[i].value); return 0; }',
    '',
  ].join('\n');
}

/**
 * errno names to numbers. The three architectures use asm-generic's.
 * @returns {ReadonlyMap<string, number>}
 */
export function errnoNumbers() {
  const macros = macrosOf('x86_64', ['asm/errno.h']);
  const numbers = new Map([['ENOTSUP', 95]]); // The C library's other name for EOPNOTSUPP.
  for (const [name, body] of macros) {
    const number = Number(macros.get(body) ?? body);
    if (/^E[A-Z0-9]+$/.test(name) && Number.isInteger(number)) numbers.set(name, number);
  }
  return new Map([...numbers].sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1)));
}
