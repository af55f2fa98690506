/*
 * A guest of the benchmarks: a firmware that goes through its memory for ever,
 * and stops at the first page that is wrong.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * It says so at READY and waits for GO, since its memory is filled meanwhile.
 * Then, round by round, it reads all pages of ARENA, of which the sum has to
 * stay what it was, and writes anew each page of HOT, which has to be as it was
 * left.  It has interrupts disabled and leaves the processor for nothing: what
 * it executes for a round is always the same.
 */

        .set    ARENA,  0x1000000
        .set    HOT,    0x200000

        /* What ksmbench/working.py reads and writes. */
        .set    READY,  0x600
        .set    GO,     0x604
        .set    DONE,   0x608           /* pages gone through; wraps around */
        .set    ROUND,  0x60c
        .set    WRONG,  0x610           /* address behind what is wrong */

        .set    SUM,    0x614

        .include "protected-mode.inc"

        .code16
        .globl  _start
_start:
        cli
        cld
        movw    %cs, %ax
        movw    %ax, %ds
        xorw    %ax, %ax
        movw    %ax, %es
        movw    $_start, %si
        movw    %si, %di
        movw    $(end - _start) / 2, %cx
        rep movsw
        movw    %ax, %ds
        ljmp    $0, $copied
copied:
        go_on_protected
        movw    %ax, %es
        xorl    %eax, %eax
        movl    $READY, %edi
        movl    $6, %ecx
        rep stosl
        incl    READY

1:      pause
        cmpl    $0, GO
        je      1b

round:
        movl    $ARENA, %edi
        movl    pages, %ebp
        xorl    %eax, %eax
read:
        movl    $4096 / 64, %ecx
1:      .set    offset, 0
        .rept   16
        roll    $1, %eax
        addl    offset(%edi), %eax
        .set    offset, offset + 4
        .endr
        addl    $64, %edi
        decl    %ecx
        jnz     1b
        incl    DONE
        decl    %ebp
        jnz     read

        cmpl    $0, ROUND
        jne     1f
        movl    %eax, SUM
1:      cmpl    %eax, SUM
        jne     wrong

        movl    $HOT, %edi
        movl    hot, %ebp
        testl   %ebp, %ebp
        jz      next
write:
        /* Its address and the round: no two are ever alike. */
        movl    %edi, %ebx
        movl    %edi, %eax
        addl    ROUND, %eax
        movl    $1024, %ecx
        cmpl    $0, ROUND
        je      1f
        repe scasl
        jne     wrong
1:      movl    %ebx, %edi
        incl    %eax
        movl    $1024, %ecx
        rep stosl
        incl    DONE
        decl    %ebp
        jnz     write
next:
        incl    ROUND
        jmp     round

wrong:
        movl    %edi, WRONG
1:      hlt
        jmp     1b

        /* Filled in by ksmbench/working.py */
        .org    0x1f0
pages:  .long   0                       /* of ARENA */
hot:    .long   0                       /* of HOT */
end:

        /* Where a processor begins, 16 bytes before the end of the ROM. */
        .code16
        .org    0x10000 - 0x7c00 - 16
        ljmp    $0xf000, $_start
        .org    0x10000 - 0x7c00
