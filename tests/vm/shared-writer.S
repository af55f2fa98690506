/*
 * A guest of test-kvm-stock.py: a boot sector that shares its memory with
 * another process of the host, and stops at the first word that is wrong.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Round by round it writes the round's number into each page, and says so at
 * ROUND.  The other process finds them all, writes an answer into each page,
 * the number's complement, and says so at ANSWERED.  All of these are found
 * here.  So all pages are alike whenever both are done.
 */

        .set    ARENA,    0x1000000
        .set    PAGES,    256
        .set    ANSWER,   2048          /* in each page */

        /* What test-kvm-stock.py reads and writes. */
        .set    ROUND,    0xfff000
        .set    ANSWERED, 0xfff004
        .set    WRONG,    0xfff008      /* address of what is wrong */

        .include "protected-mode.inc"

        .code16
        .globl  _start
_start:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        go_on_protected

        xorl    %eax, %eax
round:
        incl    %eax
        movl    %eax, %ebx
        notl    %ebx

        movl    $ARENA, %edi
        movl    $PAGES, %ecx
1:      movl    %eax, (%edi)
        addl    $4096, %edi
        decl    %ecx
        jnz     1b
        movl    %eax, ROUND

1:      pause
        cmpl    %eax, ANSWERED
        jne     1b

        movl    $ARENA, %edi
        movl    $PAGES, %ecx
1:      cmpl    %eax, (%edi)
        jne     wrong
        cmpl    %ebx, ANSWER(%edi)
        jne     wrong
        addl    $4096, %edi
        decl    %ecx
        jnz     1b
        jmp     round

wrong:
        movl    %edi, WRONG
1:      hlt
        jmp     1b

        .org    0x1fe
        .word   0xaa55
