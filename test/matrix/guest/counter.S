# SPDX-License-Identifier: Apache-2.0
# A guest that is its own firmware: 64 KB at the end of the first megabyte, real mode only, so it starts at once and runs under any accelerator.
# A hundred times a second it adds one to a counter at 0x500, writes to 128 pages, and prints the counter on the first serial port as eight
# hexadecimal digits and a line end. In between it sleeps. Paused, reset, or moved to another process, its next line tells what became of it.
    .code16
    .text
start:
    cli
    # What the machine's firmware would do: let the interrupt controller through the APIC. KVM does so when the APIC is off (IA32_APIC_BASE).
    # TCG ("TCGT") does not, and its registers are above what real mode reaches: %fs gets a limit of 4 GB in protected mode and keeps it.
    movl $0x40000000, %eax
    cpuid
    cmpl $0x54474354, %ebx
    je through_apic
    movl $0x1b, %ecx
    rdmsr
    andl $~0x800, %eax
    wrmsr
    jmp connected
through_apic:
    lgdtl %cs:table
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    movw $8, %bx
    movw %bx, %fs
    andb $0xfe, %al
    movl %eax, %cr0
    # On, spurious interrupts are vector 255; LINT0 unmasked, delivers what the interrupt controller says.
    movl $0xfee000f0, %ebx
    movl $0x1ff, %fs:(%ebx)
    movl $0xfee00350, %ebx
    movl $0x700, %fs:(%ebx)
connected:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7000, %sp
    movl $0, 0x500
    # Interrupt 8, the timer's.
    movw $tick, 0x20
    movw %cs, 0x22
    # 8259: edges, cascade, vectors from 8, 8086 mode, only the timer.
    movb $0x11, %al
    outb %al, $0x20
    movb $0x08, %al
    outb %al, $0x21
    movb $0x04, %al
    outb %al, $0x21
    movb $0x01, %al
    outb %al, $0x21
    movb $0xfe, %al
    outb %al, $0x21
    # 8254: channel 0, rate generator, 1193182 Hz / 11932.
    movb $0x34, %al
    outb %al, $0x43
    movb $(11932 & 0xff), %al
    outb %al, $0x40
    movb $(11932 >> 8), %al
    outb %al, $0x40
    sti
sleep:
    hlt
    jmp sleep

tick:
    incl 0x500
    movw $0x1000, %bx
next_page:
    movw %bx, %es
    incl %es:0
    addw $0x100, %bx
    cmpw $0x9000, %bx
    jb next_page
    movl 0x500, %ebp
    movw $8, %cx
next_digit:
    roll $4, %ebp
    movw %bp, %ax
    andb $0x0f, %al
    addb $'0', %al
    cmpb $'9', %al
    jbe digit
    addb $('a' - '9' - 1), %al
digit:
    call print
    loop next_digit
    movb $'\n', %al
    call print
    movb $0x20, %al
    outb %al, $0x20
    iret

# Waits until the port can take a byte: al.
print:
    movb %al, %ah
    movw $0x3fd, %dx
wait:
    inb %dx, %al
    testb $0x20, %al
    jz wait
    movb %ah, %al
    movw $0x3f8, %dx
    outb %al, %dx
    ret

segments:
    .quad 0, 0x00cf92000000ffff
table:
    .word . - segments - 1
    .long 0xf0000 + segments

    # Where the processor starts.
    .org 0xfff0
    ljmp $0xf000, $start
    .org 0x10000
