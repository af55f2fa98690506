/*
 * Ioctls of ksmfs with any arguments, and of a 32-bit program
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *   ksmfs-fuzz random DIRECTORY CALLS SEED
 *   ksmfs-fuzz compat DIRECTORY
 *
 * random: whatever is asked for, nobody writes into the file by an ioctl: it
 * reads as before.  Errors are those that the uapi header names.
 */
#include "ksmfs-client.h"

#define PAGES 64
#define ENTRIES 32

/* Where arguments lie: two pages, and nothing behind. */
static char *arena;
static char *unmapped;
static int fds[8];
static uint64_t state;

static uint32_t below(uint32_t limit)
{
    return random_below(&state, limit);
}

static uint64_t any_number(void)
{
    static const uint64_t edges[] = {
        0, 1, 2, PAGES - 1, PAGES, PAGES + 1, PAGE, INT32_MAX, UINT32_MAX,
        UINT64_C(1) << 32, EVERYTHING - 1, EVERYTHING, INT64_MAX,
        UINT64_C(1) << 63, UINT64_MAX - 1, UINT64_MAX,
    };

    switch (below(4)) {
    case 0:
        return edges[below(ARRAY_SIZE(edges))];
    case 1:
        return (uint64_t)below(UINT32_MAX) << 32 | below(UINT32_MAX);
    default:
        return below(PAGES + 4);
    }
}

static uint64_t any_pointer(void)
{
    switch (below(10)) {
    case 0:
        return any_number();
    case 1:
        return (uintptr_t)unmapped;
    case 2:
        /* Over the end of what is mapped. */
        return (uintptr_t)arena + 2 * PAGE - below(64);
    case 3:
        return UINT64_C(0xffff888000000000) + below(UINT32_MAX);
    case 4:
        return (uintptr_t)arena + PAGE + below(64);
    default:
        return (uintptr_t)arena + PAGE;
    }
}

static uint32_t any_size(uint32_t right)
{
    switch (below(8)) {
    case 0:
        return any_number();
    case 1:
        return right + below(64);
    default:
        return right;
    }
}

/* Bits that must be 0, and mostly are. */
static uint32_t any_flags(void)
{
    return below(8) ? 0 : any_number();
}

static void fill_entries(void)
{
    struct ksmfs_merge_entry *entries = (void *)(arena + PAGE);

    for (int i = 0; i < ENTRIES; i++) {
        entries[i] = (struct ksmfs_merge_entry) {
            .index = any_number(),
            .digest = below(6),
            .result = any_number(),
            .reserved = below(200) ? 0 : any_number(),
        };
    }
}

static unsigned long fill_argument(char *argument)
{
    switch (below(5)) {
    case 0: {
        struct ksmfs_info *info = (void *)argument;

        info->size = any_size(sizeof(*info));
        return KSMFS_IOC_INFO;
    }
    case 1: {
        struct ksmfs_collect *collect = (void *)argument;

        *collect = (struct ksmfs_collect) {
            .size = any_size(sizeof(*collect)),
            .flags = below(4) ? any_flags() : below(4),
            .start = any_number(),
            .end = any_number(),
            .ranges = any_pointer(),
            .max = any_number(),
        };
        return KSMFS_IOC_COLLECT;
    }
    case 2: {
        struct ksmfs_merge *merge = (void *)argument;

        *merge = (struct ksmfs_merge) {
            .size = any_size(sizeof(*merge)),
            .flags = any_flags(),
            .entries = any_pointer(),
            .count = below(4) ? below(ENTRIES) : any_number(),
        };
        fill_entries();
        return KSMFS_IOC_MERGE;
    }
    case 3: {
        struct ksmfs_split *split = (void *)argument;

        *split = (struct ksmfs_split) {
            .size = any_size(sizeof(*split)),
            .flags = any_flags(),
            .start = any_number(),
            .end = any_number(),
            .max = any_number(),
        };
        return KSMFS_IOC_SPLIT;
    }
    default: {
        struct ksmfs_stat *stat = (void *)argument;

        stat->size = any_size(sizeof(*stat));
        stat->flags = any_flags();
        return KSMFS_IOC_STAT;
    }
    }
}

static bool is_documented(unsigned long command, int err)
{
    switch (err) {
    case 0:
    case EBADF:
    case EFAULT:
    case EINVAL:
    case E2BIG:
    case ENOTTY:
        return true;
    case EBUSY:
        return command == KSMFS_IOC_COLLECT;
    default:
        return false;
    }
}

static void open_fds(const char *directory)
{
    char path[256];
    int pipe_fds[2];

    snprintf(path, sizeof(path), "%s/fuzz", directory);
    fds[0] = open_file(directory, "fuzz", PAGES);
    fds[1] = fds[2] = fds[0];
    fds[3] = MUST(open(path, O_RDONLY));
    fds[4] = MUST(open(path, O_PATH));
    fds[5] = MUST(open(directory, O_RDONLY | O_DIRECTORY));
    fds[6] = open_file(directory, "other", PAGES);
    MUST(pipe(pipe_fds));
    fds[7] = pipe_fds[0];
}

static void check_file(const char *map)
{
    for (int page = 0; page < PAGES; page++) {
        uint64_t is = *(volatile uint64_t *)(map + page * PAGE);
        uint64_t wanted = page % 5;

        if (is != wanted) {
            die("MISMATCH: page %d holds %" PRIu64 ", not %" PRIu64, page, is,
                wanted);
        }
    }
}

static void run_random(const char *directory, uint64_t calls)
{
    uint64_t succeeded = 0;
    char *map;

    open_fds(directory);
    arena = MUST(mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    unmapped = arena + 2 * PAGE;
    MUST(munmap(unmapped, PAGE));
    map = map_file(fds[0], PAGES);
    for (int page = 0; page < PAGES; page++) {
        *(uint64_t *)(map + page * PAGE) = page % 5;
    }
    for (uint64_t call = 0; call < calls; call++) {
        int fd = fds[below(ARRAY_SIZE(fds))];
        /* Now and then it ends where nothing is mapped any more. */
        char *argument = arena + (below(8) ? 0 : PAGE - below(64));
        unsigned long command;
        int err;

        memset(argument, below(2) ? 0 : below(256), 128);
        command = fill_argument(argument);
        if (!below(16)) {
            command = _IOC(below(4), KSMFS_IOC_MAGIC, below(256),
                           below(1 << 14));
        }
        if (!below(32)) {
            argument = (char *)(uintptr_t)any_pointer();
        }
        err = ioctl(fd, command, argument) ? errno : 0;
        if (!is_documented(command, err)) {
            die("call %" PRIu64 ": ioctl 0x%lx: %s", call, command,
                strerror(err));
        }
        succeeded += !err;
        if (call % 1024 == 0) {
            check_file(map);
        }
    }
    check_file(map);
    printf("calls %" PRIu64 "\nsucceeded %" PRIu64 "\nmerges %" PRIu64 "\n",
           calls, succeeded, (uint64_t)stat_file(fds[0]).merges);
}

/* As a 32-bit program calls it, from an address that it can have. */
static int compat_ioctl(int fd, unsigned long command, void *argument)
{
#ifdef __x86_64__
    int result;

    asm volatile("int $0x80"
                 : "=a" (result)
                 : "a" (54), "b" (fd), "c" ((uint32_t)command),
                   "d" ((uint32_t)(uintptr_t)argument)
                 : "memory", "cc", "r8", "r9", "r10", "r11");
    return result;
#else
    return ioctl(fd, command, argument) ? -errno : 0;
#endif
}

static void must_be(bool holds, const char *what)
{
    if (!holds) {
        die("32-bit: not so: %s", what);
    }
}

static void run_compat(const char *directory)
{
    int fd = open_file(directory, "compat", PAGES);
    char *map = map_file(fd, PAGES);
    struct {
        struct ksmfs_info info;
        struct ksmfs_collect collect;
        struct ksmfs_merge merge;
        struct ksmfs_split split;
        struct ksmfs_stat stat;
        struct ksmfs_range range;
        struct ksmfs_merge_entry entries[2];
    } *low = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE |
                       MAP_ANONYMOUS | MAP_32BIT, -1, 0));

    map[3 * PAGE] = map[4 * PAGE] = 1;
    low->info.size = sizeof(low->info);
    must_be(!compat_ioctl(fd, KSMFS_IOC_INFO, &low->info) &&
            low->info.abi == KSMFS_ABI && low->info.page_size == PAGE, "INFO");
    low->collect = (struct ksmfs_collect) {
        .size = sizeof(low->collect),
        .end = EVERYTHING,
        .ranges = (uintptr_t)&low->range,
        .max = 1,
    };
    must_be(!compat_ioctl(fd, KSMFS_IOC_COLLECT, &low->collect) &&
            low->collect.count == 1 && low->collect.next == EVERYTHING &&
            low->range.start == 3 && low->range.end == 5, "COLLECT");
    low->entries[0].index = 3;
    low->entries[1].index = 4;
    low->merge = (struct ksmfs_merge) {
        .size = sizeof(low->merge),
        .entries = (uintptr_t)low->entries,
        .count = 2,
    };
    must_be(!compat_ioctl(fd, KSMFS_IOC_MERGE, &low->merge) &&
            low->merge.done == 2 && low->entries[0].result == KSMFS_INDEXED &&
            low->entries[1].result == KSMFS_MERGED, "MERGE");
    low->stat.size = sizeof(low->stat);
    must_be(!compat_ioctl(fd, KSMFS_IOC_STAT, &low->stat) &&
            low->stat.pages_sharing == 2, "STAT");
    low->split = (struct ksmfs_split) {
        .size = sizeof(low->split), .end = EVERYTHING, .max = EVERYTHING,
    };
    must_be(!compat_ioctl(fd, KSMFS_IOC_SPLIT, &low->split) &&
            low->split.count == 2 && low->split.next == EVERYTHING, "SPLIT");
    must_be(compat_ioctl(fd, KSMFS_IOC_SPLIT + 100, &low->split) == -ENOTTY,
            "an unknown one");
}

int main(int argc, char **argv)
{
    if (argc == 5 && !strcmp(argv[1], "random")) {
        /* 0 would stay 0. */
        state = strtoull(argv[4], NULL, 0) | UINT64_C(1) << 40;
        run_random(argv[2], strtoull(argv[3], NULL, 0));
    } else if (argc == 3 && !strcmp(argv[1], "compat")) {
        run_compat(argv[2]);
    } else {
        die("usage: ksmfs-fuzz random|compat DIRECTORY ...");
    }
    return 0;
}
