// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_simulate.h"

#include <array>
#include <cstring>
#include <optional>

namespace ratchet {

namespace {

struct Machine {
  std::uint32_t a = 0;
  std::uint32_t x = 0;
  std::array<std::uint32_t, BPF_MEMWORDS> memory{};
};

std::optional<std::uint32_t> load(const Machine& machine, const sock_filter& instruction, const seccomp_data& call) {
  switch (BPF_MODE(instruction.code)) {
    case BPF_IMM:
      return instruction.k;
    case BPF_LEN:
      return sizeof call;
    case BPF_MEM:
      if (instruction.k >= machine.memory.size()) return {};
      return machine.memory[instruction.k];
    case BPF_ABS: {
      if (instruction.k % 4 != 0 || instruction.k > sizeof call - 4) return {};
      std::uint32_t word;
      std::memcpy(&word, reinterpret_cast<const char*>(&call) + instruction.k, sizeof word);
      return word;
    }
    default:
      return {};
  }
}

std::optional<std::uint32_t> compute(std::uint16_t operation, std::uint32_t a, std::uint32_t operand) {
  switch (operation) {
    case BPF_ADD:
      return a + operand;
    case BPF_SUB:
      return a - operand;
    case BPF_MUL:
      return a * operand;
    case BPF_DIV:
      return operand == 0 ? 0 : a / operand;
    case BPF_AND:
      return a & operand;
    case BPF_OR:
      return a | operand;
    case BPF_XOR:
      return a ^ operand;
    case BPF_LSH:
      return a << (operand & 31);
    case BPF_RSH:
      return a >> (operand & 31);
    case BPF_NEG:
      return -a;
    default:
      return {};
  }
}

std::optional<bool> compare(std::uint16_t operation, std::uint32_t a, std::uint32_t operand) {
  switch (operation) {
    case BPF_JEQ:
      return a == operand;
    case BPF_JGT:
      return a > operand;
    case BPF_JGE:
      return a >= operand;
    case BPF_JSET:
      return (a & operand) != 0;
    default:
      return {};
  }
}

}  // namespace

std::uint32_t simulate(std::span<const sock_filter> program, const seccomp_data& call) {
  Machine machine;
  std::optional<std::uint32_t> word;
  for (std::size_t at = 0; at < program.size(); at++) {
    const sock_filter& instruction = program[at];
    const std::uint32_t operand = BPF_SRC(instruction.code) == BPF_X ? machine.x : instruction.k;
    switch (BPF_CLASS(instruction.code)) {
      case BPF_LD:
      case BPF_LDX:
        word = load(machine, instruction, call);
        if (!word) return SECCOMP_RET_KILL_PROCESS;
        (BPF_CLASS(instruction.code) == BPF_LD ? machine.a : machine.x) = *word;
        break;
      case BPF_ST:
      case BPF_STX:
        if (instruction.k >= machine.memory.size()) return SECCOMP_RET_KILL_PROCESS;
        machine.memory[instruction.k] = BPF_CLASS(instruction.code) == BPF_ST ? machine.a : machine.x;
        break;
      case BPF_ALU:
        word = compute(BPF_OP(instruction.code), machine.a, operand);
        if (!word) return SECCOMP_RET_KILL_PROCESS;
        machine.a = *word;
        break;
      case BPF_JMP:
        if (BPF_OP(instruction.code) == BPF_JA) {
          at += instruction.k;
        } else {
          const auto taken = compare(BPF_OP(instruction.code), machine.a, operand);
          if (!taken) return SECCOMP_RET_KILL_PROCESS;
          at += *taken ? instruction.jt : instruction.jf;
        }
        break;
      case BPF_RET:
        return BPF_RVAL(instruction.code) == BPF_A ? machine.a : instruction.k;
      case BPF_MISC:
        (BPF_MISCOP(instruction.code) == BPF_TAX ? machine.x : machine.a) =
            BPF_MISCOP(instruction.code) == BPF_TAX ? machine.a : machine.x;
        break;
      default:
        return SECCOMP_RET_KILL_PROCESS;
    }
  }
  return SECCOMP_RET_KILL_PROCESS;
}

}  // namespace ratchet
