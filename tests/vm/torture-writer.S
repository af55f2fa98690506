/*
 * A guest of test-torture.py: a boot sector that writes pages, verifies
 * them before it writes them again, and stops at the first wrong one.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A boot sector (and one more), because KVM nested in some hypervisors runs
 * one where it runs no operating system.  It goes to 32-bit protected mode,
 * without paging, and stays there, with integer instructions alone: nested
 * KVM may have to emulate each of them.
 *
 * Each half of a page holds an arithmetic progression of longs that its page
 * number and its version tell.  Writing a page means writing
 * one of its halves, in turn, so the other half has to survive the copy that
 * is made when a merged page is written.  By page number modulo 4:
 *
 *   0, 1   alike in all guests: 128 slots times 8 versions of content
 *   2      unique to this guest
 *   3      as 0 and 1, but zero in every second version
 *
 * A round verifies all pages and writes a quarter of them ("cold": most have
 * been left alone long enough to be merged); writes 256 pages again and again
 * ("hot": never merged for long, and in the middle of merging at times);
 * and halts for some ticks of the PIT.
 */

        .set    ARENA,    0x1000000
        .set    VERSIONS, 0x10000       /* a long for each page */
        .set    IDT,      0x8000

        /* What ksmtest/writers.py reads, longs that wrap around. */
        .set    STATE,    0x600         /* one of these: */
        .set    FILLING,  0x6b736d01
        .set    RUNNING,  0x6b736d02
        .set    MISMATCH, 0x6b736d03
        .set    ROUND,    0x604
        .set    CHECKED,  0x608         /* writes verified afterwards */
        .set    COLD,     0x60c         /* of them, those after a pause */
        .set    WRONG_PAGE,    0x610
        .set    WRONG_VERSION, 0x614
        .set    HOT,      0x618         /* the first page of 256 */

        .include "protected-mode.inc"

        .code16
        .globl  _start
_start:
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es

        /* The second sector, from the drive that is still in %dl */
        movw    $0x0201, %ax
        movw    $0x7e00, %bx
        movw    $0x0002, %cx
        movb    $0, %dh
        int     $0x13
        jc      stop

        cli
        enter_protected_mode protected

stop:
        cli
        hlt
        jmp     stop

        flat_segments
idt_pointer:
        .word   9 * 8 - 1
        .long   IDT

        /* Filled in by ksmtest/writers.py */
        .org    0x1f0
guest:
        .long   0                       /* times 2 ** 20 */
hot_writes:
        /* A multiple of 16: twins get the content back that they had. */
        .long   0
pages:
        .long   0                       /* a multiple of 256 */
        .org    0x1fe
        .word   0xaa55

        .code32
protected:
        movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $0x7c00, %esp

        /* Of all interrupts only the PIT's, which the BIOS has at 8. */
        movl    $(8 << 16) + 0x7c00 + tick - _start, IDT + 8 * 8
        movl    $0x8e00, IDT + 8 * 8 + 4
        lidt    idt_pointer
        movb    $0xfe, %al
        outb    %al, $0x21
        movb    $0xff, %al
        outb    %al, $0xa1

        xorl    %eax, %eax
        movl    $ROUND, %edi
        movl    $6, %ecx
        rep stosl
        movl    $FILLING, STATE
        xorl    %ebx, %ebx
fill:
        andl    $0, VERSIONS(, %ebx, 4)
        xorl    %ecx, %ecx
        call    write_half
        incl    %ecx
        call    write_half
        incl    %ebx
        cmpl    pages, %ebx
        jb      fill
        movb    $2, STATE

round:
        xorl    %ebx, %ebx
sweep:
        call    verify
        movl    %ebx, %eax
        shrl    $2, %eax
        addl    ROUND, %eax
        testb   $3, %al
        jnz     1f
        call    write
        incl    COLD
1:      incl    %ebx
        cmpl    pages, %ebx
        jb      sweep

        movl    hot_writes, %ebp
hot:
        movl    HOT, %ebx
1:      call    verify
        call    write
        incl    %ebx
        testb   %bl, %bl
        jnz     1b
        decl    %ebp
        jnz     hot
        cmpl    pages, %ebx
        jb      1f
        xorl    %ebx, %ebx
1:      movl    %ebx, HOT

        /* 1 to 4 ticks of 55 ms, 16 in every 16th round */
        incl    ROUND
        movl    ROUND, %ecx
        andl    $15, %ecx
        jz      1f
        andl    $3, %ecx
        incl    %ecx
        jmp     pause
1:      movb    $16, %cl
pause:
        sti
        hlt
        /* The interrupt comes here: KVM's emulator has no IRET. */
tick:
        addl    $12, %esp
        movb    $0x20, %al
        outb    %al, $0x20
        loop    pause
        jmp     round

/* Verifies page %ebx, both halves. */
verify:
        xorl    %ecx, %ecx
        call    verify_half
        incl    %ecx

/* Goes through the half that content tells of: verifies it, or writes it. */
        .macro  each_long verify
1:      .set    offset, 0
        .rept   4
        .if     \verify
        cmpl    %eax, offset(%edi)
        jne     wrong
        .else
        movl    %eax, offset(%edi)
        .endif
        addl    %esi, %eax
        .set    offset, offset + 4
        .endr
        addl    $16, %edi
        decl    %edx
        jnz     1b
        .endm

/* Verifies half %ecx of page %ebx. */
verify_half:
        call    content
        each_long verify=1
        ret
wrong:
        movl    %ebx, WRONG_PAGE
        movl    VERSIONS(, %ebx, 4), %eax
        movl    %eax, WRONG_VERSION
        movb    $3, STATE
        jmp     stop

/* Writes a half of page %ebx, which was verified. */
write:
        incl    CHECKED
        incl    VERSIONS(, %ebx, 4)
        movl    VERSIONS(, %ebx, 4), %ecx
        notl    %ecx
        andl    $1, %ecx

/* Writes half %ecx of page %ebx as its version tells. */
write_half:
        call    content
        each_long verify=0
        ret

/*
 * The content of half %ecx of page %ebx: its first long in %eax, the
 * difference from one to the next in %esi; its address in %edi, its length
 * in units of four longs in %edx.
 */
content:
        movl    VERSIONS(, %ebx, 4), %edx
        incl    %edx
        subl    %ecx, %edx
        shrl    $1, %edx                /* the version of this half */
        movl    %ebx, %edi
        movl    %ebx, %eax
        andl    $3, %eax
        cmpb    $2, %al
        jne     1f
        addl    guest, %edi             /* unique: page and version whole */
        jmp     2f
1:      /* zero for kind 3 in an odd version */
        xorl    %esi, %esi
        cmpb    $3, %al
        jne     1f
        testb   $1, %dl
        jnz     3f
1:      shrl    $2, %edi
        andl    $127, %edi
        andl    $7, %edx
2:      leal    (%ecx, %edi, 2), %edi
        imull   $0x9e3779b1, %edi, %edi
        addl    %edx, %edi
        imull   $0x85ebca77, %edi, %edi
        movl    %edi, %esi
3:      movl    %esi, %eax
        leal    (%ecx, %ebx, 2), %edi
        shll    $11, %edi
        addl    $ARENA, %edi
        movl    $128, %edx
        ret

        .org    0x400
