# SPDX-License-Identifier: Apache-2.0
# A guest in one boot sector, for machines whose KVM does not run Linux: it writes and reads a sector of its first two disks through the firmware, sends a frame
# through an NE2000 at port 0x300, and says "round" on its serial port, for ever; "fault" when a disk fails.
.code16
.globl _start
_start:
  ljmp $0, $begin
begin:
  xorw %ax, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movw $0x7c00, %sp
  cld
  # DP8390: stopped, bytes, no reception, transmission as it is, its ring of pages, started.
  movw $setup, %si
  call program_card
round:
  movb $0x80, %dl
  call use_disk
  movb $0x81, %dl
  call use_disk
  movw $load, %si
  call program_card
  movw $0x310, %dx
  movw $frame, %si
  movw $60, %cx
  rep outsb
  movw $send, %si
  call program_card
  movw $round_text, %si
  call say
  jmp round

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

setup: .byte 0x00, 0x21, 0x0e, 0x48, 0x0a, 0, 0x0b, 0, 0x0c, 0x20, 0x0d, 0x00, 0x01, 0x46, 0x02, 0x80, 0x03, 0x46, 0x07, 0xff, 0x0f, 0, 0x00, 0x22, 0xff
load: .byte 0x07, 0x40, 0x0a, 60, 0x0b, 0, 0x08, 0, 0x09, 0x40, 0x00, 0x12, 0xff
send: .byte 0x04, 0x40, 0x05, 60, 0x06, 0, 0x00, 0x26, 0xff
round_text: .asciz "round\n"
fault_text: .asciz "fault\n"
frame: .byte 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0, 0, 1, 0x88, 0xb5
# Sixteen bytes, one sector, to 0x1000, from sector 8 on.
packet: .byte 16, 0
  .word 1, 0x1000, 0
  .quad 8
  .org 510
  .word 0xaa55
