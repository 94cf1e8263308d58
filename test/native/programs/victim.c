// SPDX-License-Identifier: Apache-2.0
// Programs to be tightened, one property each. `victim NAME` prints "ready PID", works until a byte comes on stdin, then checks what it did
// and prints "ok" or what was wrong. A single wrong answer anywhere counts.
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static atomic_bool ending;

static void wrong(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  printf(" (errno %s)\n", strerrorname_np(errno));
  fflush(stdout);
  _exit(1);
}

#define EXPECT(condition) \
  if (!(condition)) wrong("%s: not so: %s", __func__, #condition)

static void ready(pid_t pid) {
  printf("ready %d\n", pid);
  fflush(stdout);
}

static void wait_for_end(void) {
  char byte;
  EXPECT(read(0, &byte, 1) == 1);
  ending = true;
}

static pthread_t start(void* (*function)(void*), void* argument) {
  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, function, argument) == 0);
  return thread;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// Threads in calls that wait: each must return what it would have, and never EINTR.

static int wakers[5][2];
static uint32_t word;

static void* in_read(void* unused) {
  char byte = 0;
  EXPECT(read(wakers[0][0], &byte, 1) == 1 && byte == 'r');
  return unused;
}
static void* in_poll(void* unused) {
  struct pollfd fd = {wakers[1][0], POLLIN, 0};
  EXPECT(poll(&fd, 1, 600000) == 1);
  return unused;
}
static void* in_ppoll(void* unused) {
  struct pollfd fd = {wakers[2][0], POLLIN, 0};
  sigset_t mask;
  sigfillset(&mask);
  EXPECT(ppoll(&fd, 1, NULL, &mask) == 1);
  return unused;
}
static void* in_epoll(void* timeout) {
  const int index = timeout == NULL ? 3 : 4;
  const int fd = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  EXPECT(epoll_ctl(fd, EPOLL_CTL_ADD, wakers[index][0], &event) == 0);
  EXPECT(epoll_wait(fd, &event, 1, timeout == NULL ? -1 : 600000) == 1);
  return NULL;
}
static void* in_futex(void* timed) {
  const struct timespec timeout = {600, 0};
  EXPECT(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, timed == NULL ? NULL : &timeout, NULL, 0) == 0);
  return NULL;
}
static void* in_sigwait(void* unused) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  EXPECT(sigwaitinfo(&set, NULL) == SIGUSR2);
  return unused;
}

static void waiting(void) {
  for (int index = 0; index < 5; index++) EXPECT(pipe(wakers[index]) == 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  pthread_t threads[] = {start(in_read, NULL),  start(in_poll, NULL),  start(in_ppoll, NULL), start(in_epoll, NULL),
                         start(in_epoll, &word), start(in_futex, NULL), start(in_futex, &word), start(in_sigwait, NULL)};
  ready(getpid());
  wait_for_end();
  for (int index = 0; index < 5; index++) EXPECT(write(wakers[index][1], "r", 1) == 1);
  EXPECT(kill(getpid(), SIGUSR2) == 0);
  // Wakes without changing the word, so that a futex wait that was begun anew would wait again.
  for (int woken = 0; woken < 2;) woken += (int)syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0);
  for (size_t index = 0; index < sizeof threads / sizeof *threads; index++) pthread_join(threads[index], NULL);
}

// Relative sleeps: interrupted ones go on for the rest of their time (restart_syscall).

static void* sleep_in(void* call) {
  const double begin = now();
  const struct timespec span = {1, 500000000};
  struct timespec rest;
  struct pollfd nothing = {-1, 0, 0};
  if (call == NULL) EXPECT(clock_nanosleep(CLOCK_MONOTONIC, 0, &span, &rest) == 0);
  if (call == &word) EXPECT(poll(&nothing, 1, 1500) == 0);
  if (call == &ending) EXPECT(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &span, NULL, 0) == -1 && errno == ETIMEDOUT);
  const double took = now() - begin;
  // The last interruption comes after 1 s: a sleep begun anew would take 2.5 s.
  if (took < 1.5 || took > 2.3) wrong("slept %f s", took);
  return NULL;
}

static void sleeping(void) {
  pthread_t threads[] = {start(sleep_in, NULL), start(sleep_in, &word), start(sleep_in, (void*)&ending)};
  ready(getpid());
  for (size_t index = 0; index < 3; index++) pthread_join(threads[index], NULL);
  wait_for_end();
}

static void sleeping_leader(void) {
  ready(getpid());
  sleep_in(NULL);
  wait_for_end();
}

// User code with its state in registers only.

static uint64_t spin_in_registers(uint64_t seed, uint64_t rounds) {
  uint64_t lanes[4] = {seed, seed * 3, seed * 5, seed * 7};
  uint64_t general = seed;
  __asm__ volatile(
      "vmovdqu (%[lanes]), %%ymm7\n\t"
      "vmovdqu (%[lanes]), %%ymm15\n\t"
      "1:\n\t"
      "vpaddq %%ymm15, %%ymm7, %%ymm7\n\t"
      "vpxor %%ymm7, %%ymm15, %%ymm15\n\t"
      "imul $33, %[general], %[general]\n\t"
      "xor %[rounds], %[general]\n\t"
      "dec %[rounds]\n\t"
      "jnz 1b\n\t"
      "vpxor %%ymm15, %%ymm7, %%ymm7\n\t"
      "vmovdqu %%ymm7, (%[lanes])\n\t"
      "vzeroupper\n\t"
      : [general] "+r"(general), [rounds] "+r"(rounds)
      : [lanes] "r"(lanes)
      : "memory", "cc", "xmm7", "xmm15");
  return general ^ lanes[0] ^ lanes[1] ^ lanes[2] ^ lanes[3];
}

static void* spin(void* seed) {
  enum { rounds = 1000000 };
  const uint64_t expected = spin_in_registers((uintptr_t)seed, rounds);
  while (!ending) EXPECT(spin_in_registers((uintptr_t)seed, rounds) == expected);
  return NULL;
}

static void spinning(void) {
  pthread_t first = start(spin, (void*)12345);
  pthread_t second = start(spin, (void*)67890);
  ready(getpid());
  wait_for_end();
  pthread_join(first, NULL);
  pthread_join(second, NULL);
}

/// The leader too spins: nobody sits in a call.
static volatile sig_atomic_t told;
static void tell(int signal) {
  (void)signal;
  told = 1;
}
static void spinning_leader(void) {
  signal(SIGUSR1, tell);
  const uint64_t expected = spin_in_registers(99, 1000000);
  ready(getpid());
  while (!told) EXPECT(spin_in_registers(99, 1000000) == expected);
}

// Threads that begin and end all the time.

static atomic_ulong made;
static atomic_ulong ended;
static void* short_life(void* argument) {
  volatile uint64_t sum = 0;
  for (uint64_t index = 0; index < (uintptr_t)argument; index++) sum += index;
  ended++;
  return (void*)(uintptr_t)sum;
}
static void* make_threads(void* unused) {
  while (!ending) {
    pthread_t threads[4];
    for (uintptr_t index = 0; index < 4; index++) threads[index] = start(short_life, (void*)(index * 100));
    made += 4;
    for (uintptr_t index = 0; index < 4; index++) {
      void* sum;
      const uintptr_t count = index * 100;
      EXPECT(pthread_join(threads[index], &sum) == 0);
      EXPECT((uintptr_t)sum == (count == 0 ? 0 : count * (count - 1) / 2));
    }
  }
  return unused;
}
static void churning(void) {
  pthread_t first = start(make_threads, NULL);
  pthread_t second = start(make_threads, NULL);
  ready(getpid());
  wait_for_end();
  pthread_join(first, NULL);
  pthread_join(second, NULL);
  EXPECT(made == ended && made > 0);
}

// Signals: 1 kHz from a timer, and queued ones of which none may be lost or change places.

static volatile sig_atomic_t ticks;
static volatile sig_atomic_t queued;
static volatile sig_atomic_t disorder;
static void on_tick(int signal) {
  (void)signal;
  ticks++;
}
static void on_queued(int signal, siginfo_t* info, void* context) {
  (void)signal;
  (void)context;
  if (info->si_value.sival_int != queued || info->si_code != SI_QUEUE || info->si_pid != getpid()) disorder = 1;
  queued++;
}
static int sent;
static void* send_signals(void* target) {
  while (!ending) {
    const union sigval value = {.sival_int = sent};
    if (pthread_sigqueue((pthread_t)target, SIGRTMIN, value) == 0) sent++;
    if (sent % 16 == 0) usleep(100);
  }
  return NULL;
}
static void signalled(void) {
  struct sigaction tick = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
  struct sigaction queue = {.sa_sigaction = on_queued, .sa_flags = SA_RESTART | SA_SIGINFO};
  EXPECT(sigaction(SIGALRM, &tick, NULL) == 0 && sigaction(SIGRTMIN, &queue, NULL) == 0);
  // They come to the leader, which is the thread that is stopped.
  pthread_t sender;
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  sender = start(send_signals, (void*)pthread_self());
  sigemptyset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  const struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
  timer_t timer;
  EXPECT(timer_create(CLOCK_MONOTONIC, (struct sigevent*)&event, &timer) == 0);
  const struct itimerspec interval = {{0, 1000000}, {0, 1000000}};
  EXPECT(timer_settime(timer, 0, &interval, NULL) == 0);
  ready(getpid());
  wait_for_end();
  pthread_join(sender, NULL);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  EXPECT(!sigismember(&mask, SIGRTMIN) && !sigismember(&mask, SIGALRM));
  EXPECT(ticks > 0 && !disorder);
  if (queued != sent) wrong("%d signals of %d came", (int)queued, sent);
}

/// Prints how many signals came: real-time ones are queued each by itself.
static volatile sig_atomic_t system_call_signals;
static void on_any(int signal) {
  if (signal == SIGSYS) system_call_signals++;
  if (signal == SIGRTMIN) queued++;
}
static void counting(void) {
  struct sigaction any = {.sa_handler = on_any, .sa_flags = SA_RESTART};
  EXPECT(sigaction(SIGRTMIN, &any, NULL) == 0 && sigaction(SIGSYS, &any, NULL) == 0);
  ready(getpid());
  wait_for_end();
  printf("SIGRTMIN %d SIGSYS %d\n", (int)queued, (int)system_call_signals);
}

// Filters.

static struct sock_filter on_call(unsigned int number, unsigned int action, struct sock_filter* rest) {
  rest[0] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
  rest[1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
  rest[2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
}
static int install(unsigned int number, unsigned int action, unsigned int flags) {
  struct sock_filter filter[4];
  filter[0] = on_call(number, action, filter + 1);
  const struct sock_fprog program = {4, filter};
  EXPECT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  const int result = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
  EXPECT(result >= 0);
  return result;
}

static void refusing(unsigned int number, unsigned int action) {
  start(spin, (void*)1);
  install(number, action, SECCOMP_FILTER_FLAG_TSYNC);
  ready(getpid());
  wait_for_end();
}
static void refusing_errno(void) { refusing(SYS_seccomp, SECCOMP_RET_ERRNO | ENOSYS); }
static void refusing_kill(void) { refusing(SYS_seccomp, SECCOMP_RET_KILL_PROCESS); }
static void refusing_trap(void) { refusing(SYS_seccomp, SECCOMP_RET_TRAP); }
static void refusing_mmap(void) { refusing(SYS_mmap, SECCOMP_RET_ERRNO | ENOMEM); }
static void filtered(void) { refusing(SYS_acct, SECCOMP_RET_ERRNO | EPERM); }

static void* with_own_filter(void* unused) {
  install(SYS_acct, SECCOMP_RET_ERRNO | EPERM, 0);
  ready(gettid());
  for (;;) pause();
  return unused;
}
static void divergent(void) {
  start(with_own_filter, NULL);
  wait_for_end();
}
static void divergent_same_count(void) {
  start(with_own_filter, NULL);
  install(SYS_swapon, SECCOMP_RET_ERRNO | EPERM, 0);
  wait_for_end();
}

// A leader in a supervisor's hands.

static int listener;
static void* supervise(void* unused) {
  struct seccomp_notif call = {0};
  EXPECT(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0);
  ready(getpid());
  wait_for_end();
  struct seccomp_notif_resp answer = {.id = call.id, .val = 42};
  // ENOENT if the call had been interrupted.
  EXPECT(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) == 0);
  return unused;
}
static void supervised(void) {
  listener = install(SYS_acct, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
  pthread_t supervisor = start(supervise, NULL);
  EXPECT(syscall(SYS_acct, NULL) == 42);
  pthread_join(supervisor, NULL);
}
static void supervised_alone(void) {
  listener = install(SYS_acct, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
  const pid_t child = fork();
  if (child == 0) {
    syscall(SYS_acct, NULL);
    _exit(0);
  }
  struct seccomp_notif call = {0};
  EXPECT(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0);
  ready(child);
  wait_for_end();
  struct seccomp_notif_resp answer = {.id = call.id, .val = 0};
  EXPECT(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) == 0);
  EXPECT(waitpid(child, NULL, 0) == child);
}

// Targets that are special in another way.

static void traced(void) {
  const pid_t child = fork();
  if (child == 0)
    for (;;) pause();
  EXPECT(ptrace(PTRACE_SEIZE, child, 0, PTRACE_O_EXITKILL) == 0);
  ready(child);
  wait_for_end();
}

static void undumpable(void) {
  EXPECT(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
  ready(getpid());
  wait_for_end();
}

static void zombie(void) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  siginfo_t info;
  EXPECT(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
  ready(child);
  wait_for_end();
}

static void* outlive(void* leader) {
  pthread_join((pthread_t)leader, NULL);
  ready(getpid());
  wait_for_end();
  puts("ok");
  fflush(stdout);
  _exit(0);
}
static void leader_gone(void) {
  start(outlive, (void*)pthread_self());
  start(spin, (void*)5);
  pthread_exit(NULL);
}

static void without_vdso(void) {
  char* vdso = (char*)getauxval(AT_SYSINFO_EHDR);
  EXPECT(munmap(vdso, 8192) == 0);
  ready(getpid());
  wait_for_end();
}

// A restartable sequence that ends only by being aborted: without its abort handler the thread would stay in it for ever.

static unsigned long aborts;
static void restartable(void) {
  signal(SIGUSR1, tell);
  ready(getpid());
  struct rseq* area = (struct rseq*)((char*)__builtin_thread_pointer() + __rseq_offset);
  while (!told) {
    __asm__ volatile goto(
        ".pushsection .data.rseq_section, \"aw\"\n\t"
        ".balign 32\n\t"
        "3: .long 0, 0\n\t"
        ".quad 1f, 2f - 1f, 4f\n\t"
        ".popsection\n\t"
        "leaq 3b(%%rip), %%rax\n\t"
        "movq %%rax, %[section]\n\t"
        "1: jmp 1b\n\t"
        "2: ud2\n\t"
        ".long 0x53053053\n\t"
        "4: jmp %l[aborted]\n\t"
        :
        : [section] "m"(area->rseq_cs)
        : "rax", "memory"
        : aborted);
  aborted:
    aborts++;
  }
  // The end of a time slice is an abort as well.
  EXPECT(aborts > 0);
}

static const struct {
  const char* name;
  void (*function)(void);
} victims[] = {
    {"waiting", waiting},
    {"sleeping", sleeping},
    {"sleeping-leader", sleeping_leader},
    {"spinning", spinning},
    {"spinning-leader", spinning_leader},
    {"churning", churning},
    {"signalled", signalled},
    {"counting", counting},
    {"refusing-errno", refusing_errno},
    {"refusing-kill", refusing_kill},
    {"refusing-trap", refusing_trap},
    {"refusing-mmap", refusing_mmap},
    {"filtered", filtered},
    {"divergent", divergent},
    {"divergent-same-count", divergent_same_count},
    {"supervised", supervised},
    {"supervised-alone", supervised_alone},
    {"traced", traced},
    {"undumpable", undumpable},
    {"zombie", zombie},
    {"leader-gone", leader_gone},
    {"without-vdso", without_vdso},
    {"restartable", restartable},
};

int main(int count, char** arguments) {
  for (size_t index = 0; count > 1 && index < sizeof victims / sizeof *victims; index++) {
    if (strcmp(arguments[1], victims[index].name) != 0) continue;
    victims[index].function();
    puts("ok");
    return 0;
  }
  fprintf(stderr, "usage: victim NAME\n");
  return 2;
}
