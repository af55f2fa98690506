/*
 * A writer of the torture, and what it does
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <pthread.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ksmfs-writer.h"

#define WINDOW_PAGES 8
#define DIRECT_PAGES 12
/* A page's word meanwhile, in its upper half. */
#define POKE UINT64_C(0x706f6b65)

struct Writer {
    int id;
    uint64_t random;
    uint64_t operations;
    /* The value of each page; of others' pages it is not used. */
    uint8_t values[FILES][PAGES];
    uint8_t tail_values[TAIL_PAGES];
    int tail_fd;
    char *tail;
    int pipe[2];
    char *windows[2];
    int device;
    char *buffer;
};

Torture torture = {
    .operations_wanted = 1000000,
    .seed = 1,
    .pause_us = 1000,
};

static uint32_t below(Writer *writer, uint32_t limit)
{
    return random_below(&writer->random, limit);
}

static char *at(Writer *writer, int file, int page)
{
    return torture.maps[below(writer, 2)][file] + page * PAGE;
}

static int own_page(Writer *writer)
{
    return below(writer, PAGES / WRITERS) * WRITERS + writer->id;
}

uint8_t device_value(int page)
{
    return page * 7 / 4 % VALUES;
}

static uint8_t other_value(Writer *writer, uint8_t value)
{
    return (value + 1 + below(writer, VALUES - 1)) % VALUES;
}

static void __attribute__((noreturn))
mismatch(const char *how, int file, int page, const void *got, uint8_t value)
{
    const uint64_t *words = got;
    unsigned int i = 0;

    while (i < WORDS - 1 && words[i] == torture.patterns[value][i]) {
        i++;
    }
    die("MISMATCH: file %d page %d read by %s: word %u is 0x%" PRIx64
        ", not 0x%" PRIx64, file, page, how, i, words[i],
        torture.patterns[value][i]);
}

static void check_whole(const char *how, int file, int page, const void *got,
                        uint8_t value)
{
    if (memcmp(got, torture.patterns[value], PAGE)) {
        mismatch(how, file, page, got, value);
    }
}

static void check_word(const char *how, int file, int page, const void *got,
                       unsigned int word, uint64_t wanted)
{
    uint64_t is = ((const volatile uint64_t *)got)[word];

    if (is != wanted) {
        die("MISMATCH: file %d page %d read by %s: word %u is 0x%" PRIx64
            ", not 0x%" PRIx64, file, page, how, word, is, wanted);
    }
}

/* All of it now and then, else a word: most time is to be spent on faults. */
static void check_mapped(Writer *writer, int file, int page)
{
    uint8_t value = writer->values[file][page];
    unsigned int word = below(writer, WORDS);

    if (below(writer, 4)) {
        check_word("mapping", file, page, at(writer, file, page), word,
                   torture.patterns[value][word]);
    } else {
        check_whole("mapping", file, page, at(writer, file, page), value);
    }
}

static uint8_t change(Writer *writer, int file, int page)
{
    uint8_t *value = &writer->values[file][page];

    return *value = other_value(writer, *value);
}

static void op_read(Writer *writer, int file, int page)
{
    check_mapped(writer, file, page);
}

/* One word is another for a moment. */
static void op_poke(Writer *writer, int file, int page)
{
    uint64_t poke = POKE << 32 | below(writer, UINT32_MAX);
    unsigned int word = below(writer, WORDS);
    uint64_t wanted = torture.patterns[writer->values[file][page]][word];
    volatile uint64_t *words = (void *)at(writer, file, page);

    check_word("mapping", file, page, (void *)words, word, wanted);
    words[word] = poke;
    check_word("mapping", file, page, at(writer, file, page), word, poke);
    words = (void *)at(writer, file, page);
    words[word] = wanted;
    check_mapped(writer, file, page);
}

static void op_fill(Writer *writer, int file, int page)
{
    memcpy(at(writer, file, page),
           torture.patterns[change(writer, file, page)], PAGE);
    check_mapped(writer, file, page);
}

static void op_write(Writer *writer, int file, int page)
{
    const char *from = (char *)torture.patterns[change(writer, file, page)];
    size_t half = below(writer, PAGE);

    if (MUST(pwrite(torture.fds[file], from, half,
                    page * PAGE)) != (ssize_t)half ||
        MUST(pwrite(torture.fds[file], from + half, PAGE - half,
                    page * PAGE + half)) != (ssize_t)(PAGE - half)) {
        die("file %d page %d: a short write", file, page);
    }
    check_mapped(writer, file, page);
}

static void op_pread(Writer *writer, int file, int page)
{
    if (MUST(pread(torture.fds[file], writer->buffer, PAGE,
                   page * PAGE)) != PAGE) {
        die("file %d page %d: a short read", file, page);
    }
    check_whole("read(2)", file, page, writer->buffer,
                writer->values[file][page]);
}

/* A write(2) whose source is a page of ksmfs itself. */
static void op_copy(Writer *writer, int file, int page)
{
    int from_file = below(writer, FILES);
    int from = own_page(writer);

    if (MUST(pwrite(torture.fds[file], at(writer, from_file, from), PAGE,
                    page * PAGE)) != PAGE) {
        die("file %d page %d: a short write", file, page);
    }
    writer->values[file][page] = writer->values[from_file][from];
    check_mapped(writer, file, page);
}

/*
 * Into the memory of any of the processes.  The source, a page of ksmfs that
 * has to be faulted in, keeps the kernel waiting with the target pinned.
 */
static void op_vm_write(Writer *writer, int file, int page)
{
    int from_file = below(writer, FILES);
    int from = own_page(writer);
    struct iovec remote = { torture.maps[0][file] + page * PAGE, PAGE };
    struct iovec local = { at(writer, from_file, from), PAGE };
    pid_t pid = torture.common->pids[below(writer, PROCESSES)];

    madvise(local.iov_base, PAGE, MADV_DONTNEED);
    if (MUST(process_vm_writev(pid, &local, 1, &remote, 1, 0)) != PAGE) {
        die("file %d page %d: a short process_vm_writev", file, page);
    }
    writer->values[file][page] = writer->values[from_file][from];
    check_mapped(writer, file, page);
}

static void op_vm_read(Writer *writer, int file, int page)
{
    struct iovec remote = { torture.maps[0][file] + page * PAGE, PAGE };
    struct iovec local = { writer->buffer, PAGE };
    pid_t pid = torture.common->pids[below(writer, PROCESSES)];

    if (MUST(process_vm_readv(pid, &local, 1, &remote, 1, 0)) != PAGE) {
        die("file %d page %d: a short process_vm_readv", file, page);
    }
    check_whole("process_vm_readv", file, page, writer->buffer,
                writer->values[file][page]);
}

/* Pages are pinned together, so that the last ones wait for the first. */
static void op_direct_read(Writer *writer, int file, int page)
{
    struct iovec iov[DIRECT_PAGES];
    int from = below(writer, DEVICE_PAGES - DIRECT_PAGES);
    int n = 0;

    for (int to = page; n < DIRECT_PAGES && to < PAGES; to += WRITERS) {
        iov[n] = (struct iovec) { at(writer, file, to), PAGE };
        writer->values[file][to] = device_value(from + n++);
    }
    if (MUST(preadv(writer->device, iov, n, from * PAGE)) !=
        n * (ssize_t)PAGE) {
        die("file %d page %d: a short direct read", file, page);
    }
    for (int i = 0; i < n; i++) {
        check_mapped(writer, file, page + i * WRITERS);
    }
}

static void op_direct_write(Writer *writer, int file, int page)
{
    off_t offset = (DEVICE_PAGES + writer->id) * PAGE;

    if (MUST(pwrite(writer->device, at(writer, file, page), PAGE, offset)) !=
        PAGE ||
        MUST(pread(writer->device, writer->buffer, PAGE, offset)) != PAGE) {
        die("file %d page %d: a short direct write", file, page);
    }
    check_whole("direct write", file, page, writer->buffer,
                writer->values[file][page]);
}

static void op_vmsplice(Writer *writer, int file, int page)
{
    struct iovec iov = { at(writer, file, page), PAGE };
    uint8_t before = writer->values[file][page];

    if (MUST(vmsplice(writer->pipe[1], &iov, 1, 0)) != PAGE) {
        die("file %d page %d: a short vmsplice", file, page);
    }
    /* With the pipe's reference there, it must not be merged. */
    op_poke(writer, file, page);
    if (MUST(read(writer->pipe[0], writer->buffer, PAGE)) != PAGE) {
        die("file %d page %d: a short read of a pipe", file, page);
    }
    check_whole("vmsplice", file, page, writer->buffer, before);
}

/* From file to pipe to file. */
static void op_splice(Writer *writer, int file, int page)
{
    int to_file = below(writer, FILES);
    int to = own_page(writer);
    off64_t from_offset = page * PAGE, to_offset = to * PAGE;
    ssize_t left = PAGE;

    if (MUST(splice(torture.fds[file], &from_offset, writer->pipe[1], NULL,
                    PAGE, 0)) != PAGE) {
        die("file %d page %d: a short splice", file, page);
    }
    while (left) {
        left -= MUST(splice(writer->pipe[0], NULL, torture.fds[to_file],
                            &to_offset, left, 0));
    }
    writer->values[to_file][to] = writer->values[file][page];
    check_mapped(writer, to_file, to);
}

/* A child reads and writes as its parent does. */
static void op_fork(Writer *writer, int file, int page)
{
    pid_t child;
    int status;

    child = MUST(fork());
    if (!child) {
        char *here = torture.maps[1][file] + page * PAGE;

        check_whole("child", file, page, here, writer->values[file][page]);
        memcpy(here, torture.patterns[change(writer, file, page)], PAGE);
        check_mapped(writer, file, page);
        _exit(0);
    }
    /* It has the same random numbers to come. */
    change(writer, file, page);
    MUST(waitpid(child, &status, 0));
    if (status) {
        die("file %d page %d: the child's status is 0x%x", file, page, status);
    }
    check_mapped(writer, file, page);
}

/* Nothing is there, and nobody else gets the addresses. */
static void reserve(char *where, size_t size)
{
    MUST(mmap(where, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED |
              MAP_NORESERVE, -1, 0));
}

/* Some pages around it are mapped, and moved twice. */
static void op_mremap(Writer *writer, int file, int page)
{
    int first = page < PAGES - WINDOW_PAGES ? page : PAGES - WINDOW_PAGES;
    size_t size = WINDOW_PAGES * PAGE;
    char *window = writer->windows[0];
    uint8_t value;

    MUST(mmap(window, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
              torture.fds[file], first * PAGE));
    for (int i = 1; i >= 0; i--) {
        char *here = window + (page - first) * PAGE;

        value = change(writer, file, page);
        memcpy(here, torture.patterns[value], PAGE);
        window = MUST(mremap(window, size, size, MREMAP_MAYMOVE |
                             MREMAP_FIXED, writer->windows[i]));
        check_whole("moved mapping", file, page,
                    window + (page - first) * PAGE, value);
    }
    reserve(writer->windows[0], size);
    reserve(writer->windows[1], size);
    check_mapped(writer, file, page);
}

static void op_madvise(Writer *writer, int file, int page)
{
    static const int advice[] = {
        MADV_DONTNEED, MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ,
        MADV_POPULATE_WRITE,
    };
    int n = 1 + below(writer, PAGES - page < 32 ? PAGES - page : 32);

    /* Pages of other writers may be locked or mapped read-only just now. */
    if (madvise(at(writer, file, page), n * PAGE,
                advice[below(writer, ARRAY_SIZE(advice))]) &&
        (n == 1 || errno != EINVAL)) {
        die("madvise of file %d page %d: %s", file, page, strerror(errno));
    }
    check_mapped(writer, file, page);
}

/* What is mapped read-only for a while must not be writable unseen then. */
static void op_mprotect(Writer *writer, int file, int page)
{
    char *here = at(writer, file, page);

    MUST(mprotect(here, PAGE, PROT_READ));
    check_mapped(writer, file, page);
    MUST(mprotect(here, PAGE, PROT_READ | PROT_WRITE));
    op_poke(writer, file, page);
}

static void op_mlock(Writer *writer, int file, int page)
{
    char *here = at(writer, file, page);

    MUST(mlock(here, PAGE));
    op_poke(writer, file, page);
    MUST(munlock(here, PAGE));
    check_mapped(writer, file, page);
}

/* A private mapping sees the file, and the file sees none of its writes. */
static void op_private(Writer *writer, int file, int page)
{
    uint8_t value = writer->values[file][page];
    char *here = MUST(mmap(writer->windows[0], PAGE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_FIXED, torture.fds[file],
                           page * PAGE));

    check_whole("private mapping", file, page, here, value);
    memcpy(here, torture.patterns[other_value(writer, value)], PAGE);
    check_mapped(writer, file, page);
    reserve(here, PAGE);
}

static void op_punch(Writer *writer, int file, int page)
{
    writer->values[file][page] = 0;
    if (below(writer, 2)) {
        punch_pages(torture.fds[file], page, page + 1);
    } else {
        MUST(madvise(at(writer, file, page), PAGE, MADV_REMOVE));
    }
    check_mapped(writer, file, page);
}

/* A part of a page, which is 0 for a moment. */
static void op_punch_part(Writer *writer, int file, int page)
{
    unsigned int word = below(writer, WORDS);
    uint64_t wanted = torture.patterns[writer->values[file][page]][word];
    off_t offset = page * PAGE + word * sizeof(wanted);

    MUST(fallocate(torture.fds[file],
                   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                   offset, sizeof(wanted)));
    check_word("mapping", file, page, at(writer, file, page), word, 0);
    MUST(pwrite(torture.fds[file], &wanted, sizeof(wanted), offset));
    check_mapped(writer, file, page);
}

/* A copy is under way: its first bytes are there, and the others of before. */
static bool is_of_two(uint64_t is, unsigned int word)
{
    for (unsigned int bits = 8; bits < 64; bits += 8) {
        const uint64_t copied = (UINT64_C(1) << bits) - 1;
        bool first = false, others = false;

        for (int value = 0; value < VALUES; value++) {
            uint64_t differs = is ^ torture.patterns[value][word];

            first |= !(differs & copied);
            others |= !(differs & ~copied);
        }
        if (first && others) {
            return true;
        }
    }
    return false;
}

/* A page of another writer: no one knows which, but it is one. */
static void op_foreign(Writer *writer, int unused, int unused_page)
{
    int file = below(writer, FILES), page = below(writer, PAGES);
    unsigned int word = below(writer, WORDS);
    uint64_t is =
        ((volatile uint64_t *)at(writer, file, page))[word];

    for (int value = 0; value < VALUES; value++) {
        if (is == torture.patterns[value][word]) {
            return;
        }
    }
    if (is >> 32 != POKE && !is_of_two(is, word)) {
        die("MISMATCH: file %d page %d: word %u is 0x%" PRIx64
            ", which nobody wrote", file, page, word, is);
    }
}

static void tail_check(Writer *writer, int page)
{
    check_whole("tail's mapping", FILES + writer->id, page,
                writer->tail + page * PAGE, writer->tail_values[page]);
}

static void op_tail(Writer *writer, int unused, int unused_page)
{
    int page = below(writer, TAIL_PAGES);
    uint8_t *value = &writer->tail_values[page];

    tail_check(writer, page);
    *value = other_value(writer, *value);
    memcpy(writer->tail + page * PAGE, torture.patterns[*value], PAGE);
    tail_check(writer, page);
}

static void op_truncate(Writer *writer, int unused, int unused_page)
{
    int page = below(writer, TAIL_PAGES);
    size_t kept = below(writer, 2) ? below(writer, PAGE) : 0;
    char *here = writer->tail + page * PAGE;

    tail_check(writer, page);
    MUST(ftruncate(writer->tail_fd, page * PAGE + kept));
    MUST(ftruncate(writer->tail_fd, TAIL_PAGES * PAGE));
    if (memcmp(here, torture.patterns[writer->tail_values[page]], kept) ||
        memcmp(here + kept, torture.patterns[0], PAGE - kept)) {
        die("MISMATCH: tail %d page %d, cut at %zu", writer->id, page, kept);
    }
    memset(here, 0, PAGE);
    memset(writer->tail_values + page, 0, TAIL_PAGES - page);
    tail_check(writer, below(writer, TAIL_PAGES));
}

static void op_tail_punch(Writer *writer, int unused, int unused_page)
{
    int start = below(writer, TAIL_PAGES);
    int end = start + 1 + below(writer, TAIL_PAGES - start);

    punch_pages(writer->tail_fd, start, end);
    memset(writer->tail_values + start, 0, end - start);
    tail_check(writer, below(writer, TAIL_PAGES));
}

Operation operations[] = {
    { "read", 3000, op_read },
    { "poke", 1000, op_poke },
    { "fill", 200, op_fill },
    { "write", 40, op_write },
    { "pread", 60, op_pread },
    { "copy", 20, op_copy },
    { "process_vm_writev", 20, op_vm_write },
    { "process_vm_readv", 20, op_vm_read },
    { "vmsplice", 10, op_vmsplice },
    { "splice", 10, op_splice },
    { "fork", 1, op_fork },
    { "mremap", 4, op_mremap },
    { "madvise", 20, op_madvise },
    { "mprotect", 10, op_mprotect },
    { "mlock", 4, op_mlock },
    { "private", 10, op_private },
    { "punch", 20, op_punch },
    { "punch-part", 10, op_punch_part },
    { "foreign", 1500, op_foreign },
    { "tail", 200, op_tail },
    { "truncate", 4, op_truncate },
    { "tail-punch", 10, op_tail_punch },
    { "direct-read", 20, op_direct_read },
    { "direct-write", 10, op_direct_write },
};

const unsigned int n_operations = ARRAY_SIZE(operations);

static void check_all(Writer *writer)
{
    for (int file = 0; file < FILES; file++) {
        for (int page = writer->id; page < PAGES; page += WRITERS) {
            check_whole("mapping, at the end", file, page,
                        torture.maps[1][file] + page * PAGE,
                        writer->values[file][page]);
            op_pread(writer, file, page);
        }
    }
    for (int page = 0; page < TAIL_PAGES; page++) {
        tail_check(writer, page);
    }
}

void tail_name(int id, char name[16])
{
    snprintf(name, 16, "tail%d", id);
}

/* Until all writers, and the first process, are here. */
static void await_all(_Atomic int *counter)
{
    (*counter)++;
    while (*counter <= WRITERS) {
        usleep(1000);
    }
}

static void *write_pages(void *opaque)
{
    Writer *writer = opaque;
    uint64_t wanted = torture.operations_wanted / WRITERS + 1;
    unsigned int total = 0;
    char name[16];

    tail_name(writer->id, name);
    writer->tail_fd = open_file(torture.directory, name, TAIL_PAGES);
    writer->tail = map_file(writer->tail_fd, TAIL_PAGES);
    writer->buffer = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (int i = 0; i < 2; i++) {
        writer->windows[i] = MUST(mmap(NULL, WINDOW_PAGES * PAGE, PROT_NONE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    }
    MUST(pipe(writer->pipe));
    if (torture.device) {
        writer->device = MUST(open(torture.device, O_RDWR | O_DIRECT));
    }
    for (unsigned int i = 0; i < ARRAY_SIZE(operations); i++) {
        total += operations[i].weight;
    }
    /* What is mapped later would be in the way of moved mappings. */
    await_all(&torture.common->ready);
    for (uint64_t n = 0; n < wanted; n++) {
        int file = below(writer, FILES);
        int page = own_page(writer);
        unsigned int ticket = below(writer, total), i = 0;

        while (ticket >= operations[i].weight) {
            ticket -= operations[i++].weight;
        }
        operations[i].run(writer, file, page);
        atomic_fetch_add_explicit(&torture.common->operations[i], 1,
                                  memory_order_relaxed);
    }
    /* Others may write into this process until all are done. */
    await_all(&torture.common->finished);
    check_all(writer);
    return NULL;
}

void run_writers(int process)
{
    pthread_t threads[THREADS];
    Writer *writers = calloc(THREADS, sizeof(*writers));

    for (int i = 0; i < THREADS; i++) {
        writers[i].id = process * THREADS + i;
        writers[i].random = torture.seed * 1000003 + writers[i].id + 1;
        if (pthread_create(&threads[i], NULL, write_pages, &writers[i])) {
            die("no thread to be had");
        }
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}
