/*
 * ksm-guest: advise the host what memory of this guest to merge
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * See ksm-guest(8).  It needs root, and no kernel module: the ksm-guest device
 * is mapped by way of /sys.
 */
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device.h"
#include "hw/ksm-guest.h"
#include "pages.h"

#define CONFIG      "/etc/ksm-guest.conf"
#define APPLIED     "/run/ksm-guest.applied"
#define SECONDS     10
#define ROUNDS      4
#define WORDS_MAX   4

static const char usage[] =
"Usage: ksm-guest ADVICE PID [START-END] | --name NAME | --file PATH\n"
"       ksm-guest apply | release | status\n"
"Advise the host what memory of this guest to merge.\n"
"\n"
"ADVICE:\n"
"  nomerge           never merge it: it gets memory of its own\n"
"  merge             look at once whether others have the same\n"
"  volatile          it is written all the time: leave it alone\n"
"  none              withdraw any advice\n"
"apply               advise what " CONFIG " says, a line each, and\n"
"                    withdraw what it said, or what was there, last time\n"
"release             withdraw all advice\n"
"status              show what is in force, and what merging saves\n"
"\n"
"  --timeout=SECONDS wait so long for the host to carry it out (default 10)\n"
"  --verbose         name the ranges: address and number of pages\n"
"  --help, --version\n";

typedef struct Advice {
    const char *name;
    uint32_t value;
} Advice;

static const Advice advices[] = {
    { "nomerge", KSM_GUEST_NEVER },
    { "merge", KSM_GUEST_EAGERLY },
    { "volatile", KSM_GUEST_VOLATILE },
    { "none", KSM_GUEST_NONE },
};

static const Advice *find_advice(const char *name)
{
    for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++) {
        if (!strcmp(advices[i].name, name)) {
            return &advices[i];
        }
    }
    return NULL;
}

static bool parse_pid(const char *text, pid_t *pid)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    *pid = value;
    return !errno && !*end && value > 0 && *pid == value;
}

static bool parse_range(const char *text, uint64_t *start, uint64_t *end)
{
    int n = -1;

    return sscanf(text, "%" SCNx64 "-%" SCNx64 "%n", start, end, &n) == 2 &&
           !text[n] && *start < *end;
}

/* What is said by "PID [START-END]", "--name NAME" or "--file PATH". */
static PageCount find_pages(char **words, int n, uint32_t advice,
                            Ranges *ranges)
{
    PageCount count = { 0 };
    uint64_t start = 0, end = 0;
    pid_t pid;

    if (n == 2 && !strcmp(words[0], "--name")) {
        pages_of_name(words[1], advice, ranges, &count);
        return count;
    }
    if (n == 2 && !strcmp(words[0], "--file")) {
        return pages_of_file(words[1], advice, ranges);
    }
    if (n < 1 || n > 2 || !parse_pid(words[0], &pid)) {
        errx(1, "%s: not PID, --name NAME or --file PATH: see --help",
             n > 0 ? words[0] : "nothing");
    }
    if (n == 2 && !parse_range(words[1], &start, &end)) {
        errx(1, "%s: not START-END in hexadecimal, as in /proc/%d/maps",
             words[1], (int)pid);
    }
    return pages_of_process(pid, start, end, advice, ranges);
}

static void show(const Ranges *ranges, PageCount count, bool verbose)
{
    const uint64_t page_size = sysconf(_SC_PAGESIZE);

    for (size_t i = 0; verbose && i < ranges->n; i++) {
        printf("0x%" PRIx64 " pages %" PRIu64 "\n",
               ranges->list[i].page * page_size, ranges->list[i].n);
    }
    printf("%" PRIu64 " pages in %zu ranges", ranges_pages(ranges), ranges->n);
    if (count.absent) {
        printf(", %" PRIu64 " more are not in memory", count.absent);
    }
    printf("\n");
}

/* Into @words, up to WORDS_MAX; more are counted. */
static int split(char *line, char **words)
{
    int n = 0;

    line[strcspn(line, "#\n")] = '\0';
    for (char *word = strtok(line, " \t"); word; word = strtok(NULL, " \t")) {
        if (n < WORDS_MAX) {
            words[n] = word;
        }
        n++;
    }
    return n;
}

static PageCount read_config(Ranges *ranges)
{
    FILE *file = fopen(CONFIG, "re");
    PageCount sum = { 0 };
    unsigned number = 0;
    char *line = NULL, *words[WORDS_MAX];
    size_t room = 0;

    if (!file) {
        err(1, CONFIG);
    }
    while (getline(&line, &room, file) > 0) {
        const int n = split(line, words);
        const Advice *advice;
        PageCount count;

        number++;
        if (!n) {
            continue;
        }
        advice = find_advice(words[0]);
        if (!advice || n != 3 || words[1][0] != '-') {
            errx(1, CONFIG ": line %u: not ADVICE --name NAME, or ADVICE"
                 " --file PATH", number);
        }
        count = find_pages(words + 1, n - 1, advice->value, ranges);
        sum.found += count.found;
        sum.absent += count.absent;
    }
    free(line);
    fclose(file);
    return sum;
}

/* Advises @now, and withdraws what was applied and is not in it. */
static bool apply(Device *device, const Ranges *now, unsigned seconds)
{
    Ranges before = { 0 }, wanted = { 0 };
    bool all;

    ranges_load(&before, APPLIED);
    ranges_add_missing(&wanted, &before, now, KSM_GUEST_NONE);
    ranges_add_all(&wanted, now);
    /* Whatever happens now, the next one knows what may be in force. */
    ranges_add_all(&before, now);
    ranges_tidy(&before);
    ranges_save(&before, APPLIED);
    all = device_set(device, &wanted, seconds);
    ranges_save(now, APPLIED);
    ranges_free(&before);
    ranges_free(&wanted);
    return all;
}

/* What is to be advised: by hand, of what these words say, or by CONFIG. */
typedef struct Request {
    const Advice *advice;       /* NULL: CONFIG */
    char **words;
    int n;
} Request;

static PageCount find_all(const Request *request, Ranges *ranges)
{
    PageCount count = request->advice
        ? find_pages(request->words, request->n, request->advice->value, ranges)
        : read_config(ranges);

    ranges_tidy(ranges);
    return count;
}

/*
 * Contents move to other frames at times.  So what is never to be merged is
 * looked for again when it has been advised, until that is where it still is.
 * True: go on.
 */
static bool has_moved(const Ranges *advised, const Ranges *now, unsigned round)
{
    if (ranges_cover(advised, now, KSM_GUEST_NEVER)) {
        return false;
    }
    if (round == ROUNDS) {
        warnx("more of it comes all the time, or moves: what has come last is"
              " not covered");
        return false;
    }
    return true;
}

/* Returns false, after a message, if some was left out. */
static bool advise(const Request *request, bool verbose, unsigned seconds)
{
    Device device;
    Ranges now = { 0 }, advised = { 0 };
    PageCount count;
    bool all = true;

    /*
     * Locks: another one has to wait, and what is found out after that isn't
     * old when it is advised.
     */
    device_open(&device);
    if (!request->advice && access(APPLIED, F_OK) && errno == ENOENT) {
        /* What was advised before this guest has booted is of no use. */
        device_release(&device, seconds);
    }
    count = find_all(request, &now);
    for (unsigned round = 1; ; round++) {
        all &= request->advice ? device_set(&device, &now, seconds)
                               : apply(&device, &now, seconds);
        ranges_free(&advised);
        advised = now;
        now = (Ranges) { 0 };
        if (request->advice && request->advice->value != KSM_GUEST_NEVER) {
            break;
        }
        count = find_all(request, &now);
        if (!has_moved(&advised, &now, round)) {
            break;
        }
    }
    show(&advised, count, verbose);
    ranges_free(&now);
    ranges_free(&advised);
    return all;
}

static void release(unsigned seconds)
{
    const Ranges none = { 0 };
    Device device;

    device_open(&device);
    device_release(&device, seconds);
    /* The next to apply need not withdraw what was there. */
    ranges_save(&none, APPLIED);
}

static void show_status(void)
{
    Device device;
    DeviceStatus status;

    device_open(&device);
    status = device_status(&device);
    printf("device:  %s, version %u\n", device.name, status.version);
    printf("host:    %s\n", status.features ? "accepts advice"
                                            : "declines advice");
    printf("ranges:  %u of %u\n", status.ranges, status.ranges_max);
    printf("request: %u accepted, %s\n", status.accepted,
           status.done == status.accepted ? "all done"
                                          : "the last being carried out");
    if (status.features & KSM_GUEST_FEATURE_SAVED) {
        printf("saved:   %" PRIu64 " MiB or more\n", status.saved_bytes >> 20);
    } else {
        printf("saved:   not told\n");
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "name", required_argument, NULL, 'n' },
        { "file", required_argument, NULL, 'f' },
        { "timeout", required_argument, NULL, 't' },
        { "verbose", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { 0 }
    };
    static char by_name[] = "--name", by_file[] = "--file";
    unsigned seconds = SECONDS;
    bool verbose = false;
    char *words[2] = { NULL };
    int n = 0, option;
    Request request = { 0 };
    const char *command;
    char *end;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'n':
        case 'f':
            if (n) {
                errx(1, "--name and --file: one of them, once: see --help");
            }
            words[n++] = option == 'n' ? by_name : by_file;
            words[n++] = optarg;
            break;
        case 't':
            errno = 0;
            seconds = strtoul(optarg, &end, 10);
            if (errno || *end || !isdigit((unsigned char)optarg[0]) ||
                !seconds) {
                errx(1, "--timeout=%s: not a number of seconds", optarg);
            }
            break;
        case 'v':
            verbose = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return 0;
        case 'V':
            puts("ksm-guest " KSM_GUEST_PROGRAM_VERSION);
            return 0;
        default:
            return 1;
        }
    }
    if (optind == argc) {
        errx(1, "no command: see --help");
    }
    command = argv[optind++];
    request.advice = find_advice(command);
    if (request.advice) {
        if (n && optind < argc) {
            errx(1, "%s: not with --name or --file: see --help", argv[optind]);
        }
        request.words = n ? words : argv + optind;
        request.n = n ? n : argc - optind;
        return advise(&request, verbose, seconds) ? 0 : 1;
    }
    if (n || optind < argc) {
        errx(1, "%s: takes nothing more: see --help", command);
    }
    if (!strcmp(command, "apply")) {
        return advise(&request, verbose, seconds) ? 0 : 1;
    } else if (!strcmp(command, "release")) {
        release(seconds);
    } else if (!strcmp(command, "status")) {
        show_status();
    } else {
        errx(1, "%s: no such command: see --help", command);
    }
    return 0;
}
