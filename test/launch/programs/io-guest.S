# SPDX-License-Identifier: Apache-2.0
# A guest in one boot sector, for machines whose KVM does not run Linux. For ever: it takes a frame from an NE2000 at port 0x300, if one has come, and says
# "frame"; writes what came last to a sector of its first two disks through the firmware and reads it back; sends it in a frame of its own; and says "round" on
# its serial port. "fault" when a disk fails.
.code16
.globl _start
.set ring_begin, 0x46
.set ring_end, 0x80
.set buffer, 0x1000
_start:
  ljmp $0, $begin
begin:
  xorw %ax, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movw $0x7c00, %sp
  cld
  # DP8390: stopped, bytes, everything received into its ring of pages, transmission as it is, started.
  movw $setup, %si
  call program_card
round:
  call receive
  movb $0x80, %dl
  call use_disk
  movb $0x81, %dl
  call use_disk
  movw $load, %si
  call program_card
  movw $0x310, %dx
  movw $frame, %si
  movw $14, %cx
  rep outsb
  # Behind the card's header and the frame's.
  movw $buffer + 18, %si
  movw $46, %cx
  rep outsb
  movw $send, %si
  call program_card
  movw $round_text, %si
  call say
  jmp round

# The page after the last one that was taken is where the next frame begins, when the card does not stand there itself.
receive:
  movw $look, %si
  call program_card
  movw $0x307, %dx
  inb %dx, %al
  movw $look_done, %si
  movb %al, %bl
  call program_card
  movb next, %al
  cmpb %bl, %al
  je done
  movb %al, take_page
  movw $take, %si
  call program_card
  movw $0x310, %dx
  movw $buffer, %di
  movw $64, %cx
  rep insb
  movb buffer + 1, %al
  movb %al, next
  decb %al
  cmpb $ring_begin, %al
  jae taken
  movb $ring_end - 1, %al
taken:
  movw $0x303, %dx
  outb %al, %dx
  movw $frame_text, %si
  jmp say

use_disk:
  movb $0x43, %ah
  call disk_call
  movb $0x42, %ah
disk_call:
  movb $0, %al
  movw $packet, %si
  int $0x13
  jc fault
  ret
fault:
  movw $fault_text, %si
  call say
stop:
  hlt
  jmp stop

# Pairs of register and value, up to a register of 0xff.
program_card:
  movw $0x300, %dx
  lodsb
  cmpb $0xff, %al
  je done
  movb %al, %dl
  lodsb
  outb %al, %dx
  jmp program_card

say:
  movw $0x3f8, %dx
  lodsb
  testb %al, %al
  jz done
  outb %al, %dx
  jmp say
done:
  ret

setup: .byte 0x00, 0x21, 0x0e, 0x48, 0x0a, 0, 0x0b, 0, 0x0c, 0x14, 0x0d, 0x00, 0x01, ring_begin, 0x02, ring_end, 0x03, ring_begin, 0x07, 0xff, 0x0f, 0
  .byte 0x00, 0x61, 0x07, ring_begin + 1, 0x00, 0x22, 0xff
look: .byte 0x00, 0x62, 0xff
look_done: .byte 0x00, 0x22, 0xff
take: .byte 0x07, 0x40, 0x0a, 64, 0x0b, 0, 0x08, 0, 0x09
take_page: .byte 0, 0x00, 0x0a, 0xff
load: .byte 0x07, 0x40, 0x0a, 60, 0x0b, 0, 0x08, 0, 0x09, 0x40, 0x00, 0x12, 0xff
send: .byte 0x04, 0x40, 0x05, 60, 0x06, 0, 0x00, 0x26, 0xff
next: .byte ring_begin + 1
round_text: .asciz "round\n"
frame_text: .asciz "frame\n"
fault_text: .asciz "fault\n"
frame: .byte 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0, 0, 1, 0x88, 0xb5
# Sixteen bytes, one sector, to the buffer, from sector 8 on.
packet: .byte 16, 0
  .word 1, buffer, 0
  .quad 8
  .org 510
  .word 0xaa55
