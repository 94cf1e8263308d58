// SPDX-License-Identifier: Apache-2.0
//
// tiny-vmm: a VMM of its own, to show how one takes part in its own confinement. It boots 16-bit real-mode code under KVM: the guest copies what
// comes in on port 0x3f8 back to it, until there is no more, and then halts.
//
//   cc -O2 -I native/client -o tiny-vmm examples/tiny-vmm/tiny-vmm.c
//   ratchet run --profile examples/tiny-vmm/tiny-vmm.yaml -- ./tiny-vmm "text for the guest" [FILE]
//
// Everything is set up in the stage `start`. Right before the first KVM_RUN it asks for `running`, and goes on only when that is verified. A FILE is opened after
// that, through the broker (--allow open=FILE:ro), and given to the guest as well.
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ratchet.h"

enum { memory_size = 0x10000, code_address = 0x1000, serial_port = 0x3f8, line_status_port = 0x3fd };

// mov dx, 0x3fd; again: in al, dx; test al, 1; jz end; mov dl, 0xf8; in al, dx; out dx, al; mov dl, 0xfd; jmp again; end: hlt
static const uint8_t guest_code[] = {
    0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0x08, 0xb2, 0xf8, 0xec, 0xee, 0xb2, 0xfd, 0xeb, 0xf3, 0xf4,
};

struct machine {
  int vm_fd;
  int vcpu_fd;
  struct kvm_run *run;
};

/// What the guest is to read, and how far it is.
struct input {
  const char *next;
  const char *end;
};

static void *map(size_t size, int flags, int fd) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (memory == MAP_FAILED) err(1, "mmap");
  return memory;
}

static struct machine build(void) {
  const int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) err(1, "/dev/kvm");
  struct machine machine = {.vm_fd = ioctl(kvm, KVM_CREATE_VM, 0UL)};
  if (machine.vm_fd < 0) err(1, "KVM_CREATE_VM");

  uint8_t *memory = map(memory_size, MAP_SHARED | MAP_ANONYMOUS, -1);
  memcpy(memory + code_address, guest_code, sizeof guest_code);
  struct kvm_userspace_memory_region region = {.memory_size = memory_size, .userspace_addr = (uintptr_t)memory};
  if (ioctl(machine.vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0) err(1, "KVM_SET_USER_MEMORY_REGION");

  machine.vcpu_fd = ioctl(machine.vm_fd, KVM_CREATE_VCPU, 0UL);
  if (machine.vcpu_fd < 0) err(1, "KVM_CREATE_VCPU");
  machine.run = map((size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0UL), MAP_SHARED, machine.vcpu_fd);
  close(kvm);

  struct kvm_sregs segments;
  if (ioctl(machine.vcpu_fd, KVM_GET_SREGS, &segments) < 0) err(1, "KVM_GET_SREGS");
  segments.cs.base = 0;
  segments.cs.selector = 0;
  if (ioctl(machine.vcpu_fd, KVM_SET_SREGS, &segments) < 0) err(1, "KVM_SET_SREGS");
  struct kvm_regs registers = {.rip = code_address, .rflags = 2};
  if (ioctl(machine.vcpu_fd, KVM_SET_REGS, &registers) < 0) err(1, "KVM_SET_REGS");
  return machine;
}

static void do_port(struct kvm_run *run, struct input *input) {
  char *data = (char *)run + run->io.data_offset;
  if (run->io.direction == KVM_EXIT_IO_OUT) {
    if (run->io.port == serial_port && write(STDOUT_FILENO, data, run->io.size) < 0) err(1, "write");
  } else if (run->io.port == line_status_port) {
    *data = input->next < input->end;
  } else {
    *data = input->next < input->end ? *input->next++ : 0;
  }
}

static void run_guest(const struct machine *machine, struct input *input) {
  for (;;) {
    if (ioctl(machine->vcpu_fd, KVM_RUN, 0UL) < 0) {
      if (errno == EINTR) continue;
      err(1, "KVM_RUN");
    }
    switch (machine->run->exit_reason) {
      case KVM_EXIT_IO:
        do_port(machine->run, input);
        break;
      case KVM_EXIT_HLT:
        return;
      default:
        errx(1, "the guest left for reason %u", machine->run->exit_reason);
    }
  }
}

/// By its own open(), which the filter now hands to the broker.
static struct input read_file(const char *path) {
  static char text[4096];
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) err(1, "%s", path);
  const ssize_t count = read(fd, text, sizeof text);
  if (count < 0) err(1, "%s", path);
  close(fd);
  return (struct input){text, text + count};
}

int main(int argc, char **argv) {
  if (argc < 2) errx(2, "usage: tiny-vmm TEXT [FILE]");
  const struct machine machine = build();

  if (ratchet_stage("running") < 0) err(1, "the stage running was not entered: %s", ratchet_error());

  struct input input = {argv[1], argv[1] + strlen(argv[1])};
  if (argc > 2) {
    const struct input file = read_file(argv[2]);
    struct kvm_regs again = {.rip = code_address, .rflags = 2};
    run_guest(&machine, &input);
    if (ioctl(machine.vcpu_fd, KVM_SET_REGS, &again) < 0) err(1, "KVM_SET_REGS");
    input = file;
  }
  run_guest(&machine, &input);
  return 0;
}
