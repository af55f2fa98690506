/*
 * A memory-bound neighbour of whatever merges: how long its work takes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Usage: ksm-neighbour CPU MIB MICROSECONDS
 *
 * Follows a chain of pointers through MIB of memory for ever, on one CPU.  An
 * operation is as many steps as take MICROSECONDS when it is alone.  A line of
 * input is answered with a histogram of the operations since then, or since the
 * start: pairs of nanoseconds and the number of those that took no longer, but
 * longer than the pair before.  With the end of its input it ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Of equal width in each doubling: what is told is at most 1/64 too much. */
#define DOUBLING_BITS       6
#define BUCKETS_A_DOUBLING  (1 << DOUBLING_BITS)
#define BUCKETS             (64 * BUCKETS_A_DOUBLING)
#define CACHE_LINE          64
#define CALIBRATION_STEPS   1000000

typedef struct Link {
    struct Link *next;
    char rest[CACHE_LINE - sizeof(struct Link *)];
} Link;

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* One round through all of @links, in random order. */
static void link_up(Link *links, size_t n)
{
    g_autofree size_t *order = g_new(size_t, n);
    g_autoptr(GRand) chance = g_rand_new_with_seed(1);

    for (size_t i = 0; i < n; i++) {
        size_t other = g_rand_int_range(chance, 0, i + 1);

        order[i] = order[other];
        order[other] = i;
    }
    for (size_t i = 0; i < n; i++) {
        links[order[i]].next = &links[order[(i + 1) % n]];
    }
}

static Link *follow(Link *at, uint64_t steps)
{
    while (steps--) {
        at = at->next;
    }
    /* The compiler is not to see that nobody wants it. */
    __asm__ volatile("" : "+r"(at));
    return at;
}

static unsigned bucket(uint64_t ns)
{
    unsigned doubling = ns < BUCKETS_A_DOUBLING ? 0 :
                        63 - __builtin_clzll(ns) - DOUBLING_BITS;

    return ns < BUCKETS_A_DOUBLING ? ns :
           (doubling + 1) * BUCKETS_A_DOUBLING +
           (ns >> doubling) % BUCKETS_A_DOUBLING;
}

/* The longest duration in bucket @i. */
static uint64_t bucket_end(unsigned i)
{
    uint64_t doubling = i / BUCKETS_A_DOUBLING;
    uint64_t next = BUCKETS_A_DOUBLING + i % BUCKETS_A_DOUBLING + 1;

    return doubling == 0 ? i : (next << (doubling - 1)) - 1;
}

static void report(const uint64_t *histogram)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        if (histogram[i]) {
            printf("%" PRIu64 " %" PRIu64 " ", bucket_end(i), histogram[i]);
        }
    }
    putchar('\n');
    fflush(stdout);
}

static void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set)) {
        fprintf(stderr, "ksm-neighbour: CPU %d: %s\n", cpu, strerror(errno));
        exit(1);
    }
}

/* How many steps take so long, alone. */
static uint64_t calibrate(Link **at, int64_t ns)
{
    int64_t start = now_ns();

    *at = follow(*at, CALIBRATION_STEPS);
    return MAX(ns * CALIBRATION_STEPS / (now_ns() - start), 1);
}

int main(int argc, char **argv)
{
    uint64_t histogram[BUCKETS] = { 0 };
    uint64_t steps;
    Link *links, *at;
    size_t n;

    if (argc != 4 || atoi(argv[2]) <= 0 || atoi(argv[3]) <= 0) {
        fprintf(stderr, "usage: ksm-neighbour CPU MIB MICROSECONDS\n");
        return 2;
    }
    pin(atoi(argv[1]));
    n = ((size_t)atoi(argv[2]) << 20) / sizeof(Link);
    links = g_new0(Link, n);
    link_up(links, n);
    at = follow(links, n);
    steps = calibrate(&at, atoi(argv[3]) * INT64_C(1000));
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int64_t start = now_ns();
        char line[8];
        ssize_t got;

        at = follow(at, steps);
        histogram[bucket(now_ns() - start)]++;
        got = read(STDIN_FILENO, line, sizeof(line));
        if (got > 0) {
            report(histogram);
            memset(histogram, 0, sizeof(histogram));
        } else if (got == 0) {
            return 0;
        }
    }
}
