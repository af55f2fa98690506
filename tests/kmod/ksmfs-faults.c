/*
 * Operations on ksmfs of which one allocation after the other fails
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *   ksmfs-faults nth|always GROUP DIRECTORY
 *
 * nth: /proc/thread-self/fail-nth lets the Nth allocation from then on fail.
 * Each operation of a group is done with N = 1, 2, and so on, until it needs
 * fewer than N.  always: it is done once, with all those failing that the
 * settings of failslab and fail_page_alloc name for the task.
 *
 * An operation may fail, or do without what it was refused.  If it fails, it
 * says why by an error that is documented, has changed nothing, and succeeds
 * when it is done again.  Afterwards nothing is left of the files.
 *
 * Says of each operation how often it failed.
 */
#include "ksmfs-operations.h"

/* Nothing needs so many allocations. */
#define MOST 5000

static int fail_fd;
static bool always;

/* An allocation fails from here to disarm(). */
static void arm(unsigned int nth)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%u", always ? 1 : nth);

    MUST(write(fail_fd, text, n));
}

/* Whether one failed. */
static bool disarm(void)
{
    char text[16] = "";

    MUST(pread(fail_fd, text, sizeof(text) - 1, 0));
    MUST(write(fail_fd, "0", 1));
    return always || atoi(text) == 0;
}

/* Returns whether an allocation failed; counts FAILURES of the operation. */
static bool attempt(const Group *group, const Operation *op, unsigned int nth,
                    unsigned int *failures)
{
    static File a_before;
    char what[128];
    bool injected;
    int err;

    group->begin();
    a_before = bed.a;
    arm(nth);
    err = op->run();
    injected = disarm();
    snprintf(what, sizeof(what), "%s, allocation %u", op->name, nth);
    if (err && (!injected || (err != -ENOMEM && err != -op->error))) {
        die("%s: %s", what, strerror(-err));
    }
    if (err) {
        ++*failures;
        if (group->has_files && !op->partial) {
            check_file(&bed.a, &a_before, what);
        } else if (group->has_files && op->expect) {
            op->expect();
            check_file(&bed.a, &a_before, what);
            bed.a = a_before;
        }
        err = op->run();
        if (err) {
            die("%s, done again: %s", what, strerror(-err));
        }
    }
    if (group->has_files) {
        if (op->expect) {
            op->expect();
        }
        check_file(&bed.a, &bed.a, what);
        check_file(&bed.b, &bed.b, what);
    }
    group->end();
    if (group->has_files) {
        check_nothing_left(what);
    }
    return injected;
}

int main(int argc, char **argv)
{
    const Group *group;

    if (argc != 4) {
        die("Usage: %s nth|always GROUP DIRECTORY", argv[0]);
    }
    always = !strcmp(argv[1], "always");
    bed.directory = argv[3];
    group = find_group(argv[2]);
    if (!group) {
        die("%s: no such group", argv[2]);
    }
    catch_sigbus();
    fail_fd = MUST(open(always ? "/proc/thread-self/make-it-fail"
                               : "/proc/thread-self/fail-nth",
                        O_RDWR | O_CLOEXEC));
    /* The program's own memory needs none meanwhile. */
    MUST(mlockall(MCL_CURRENT));
    if (group->has_files) {
        mount_bed();
    }
    for (int i = 0; i < group->n; i++) {
        unsigned int failures = 0, nth = 1;

        while (attempt(group, &group->operations[i], nth, &failures) &&
               !always) {
            if (nth++ == MOST) {
                die("%s: no end of allocations", group->operations[i].name);
            }
        }
        printf("%s %u\n", group->operations[i].name, failures);
        fflush(stdout);
    }
    if (group->has_files) {
        umount_bed();
    }
    return 0;
}
