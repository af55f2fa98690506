/*
 * ksmctl top
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <curses.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <term.h>
#include <unistd.h>

#include "command.h"
#include "message.h"
#include "text.h"

#define REFRESH_MS      2000
#define US_PER_MS       1000
/* Columns of a screen on which names have room beside everything else. */
#define WIDE            100
/* Lines above the guests. */
#define HEADER_LINES    4

typedef struct TopColumn {
    const char *title;
    int width;                  /* negative: to the left */
    int screen;                 /* only on one of this width, or wider */
    char *(*text)(const KsmGuest *guest);
    /* As of strcmp(); what belongs on top comes first. */
    int (*compare)(const KsmGuest *one, const KsmGuest *other);
} TopColumn;

typedef struct Top {
    const KsmHost *host;
    KsmMeter meter;
    KsmSnapshot snapshot;
    unsigned sort;              /* by this column */
} Top;

static char *pid_text(const KsmGuest *guest)
{
    return g_strdup_printf("%ld", (long)ksm_guest_pid(guest));
}

static char *resident_text(const KsmGuest *guest)
{
    return ksmctl_text_mib(ksm_guest_resident(guest));
}

static char *saved_text(const KsmGuest *guest)
{
    return ksmctl_text_mib(ksm_guest_saved(guest));
}

static char *profit_text(const KsmGuest *guest)
{
    return ksmctl_text_mib(ksm_guest_profit(guest));
}

static char *name_text(const KsmGuest *guest)
{
    return ksmctl_text_name(ksm_guest_name(guest));
}

static char *ram_text(const KsmGuest *guest)
{
    return ksmctl_text_mib(ksm_guest_ram(guest));
}

static char *breaks_text(const KsmGuest *guest)
{
    return ksmctl_text_rate(ksm_guest_cow_breaks(guest));
}

static char *cpu_text(const KsmGuest *guest)
{
    return ksmctl_text_rate(ksm_guest_cpu(guest));
}

static char *engine_text(const KsmGuest *guest)
{
    return g_strdup(ksmctl_text_engine(guest));
}

/* The larger first, what is not known last. */
static int compare_figures(KsmFigure one, KsmFigure other)
{
    if (one.known != other.known) {
        return one.known ? -1 : 1;
    }
    return (one.value < other.value) - (one.value > other.value);
}

static int compare_rates(KsmRate one, KsmRate other)
{
    if (one.known != other.known) {
        return one.known ? -1 : 1;
    }
    return (one.value < other.value) - (one.value > other.value);
}

static int pid_compare(const KsmGuest *one, const KsmGuest *other)
{
    pid_t pid = ksm_guest_pid(one);
    pid_t other_pid = ksm_guest_pid(other);

    return (pid > other_pid) - (pid < other_pid);
}

static int resident_compare(const KsmGuest *one, const KsmGuest *other)
{
    return compare_figures(ksm_guest_resident(one),
                           ksm_guest_resident(other));
}

static int saved_compare(const KsmGuest *one, const KsmGuest *other)
{
    return compare_figures(ksm_guest_saved(one), ksm_guest_saved(other));
}

static int profit_compare(const KsmGuest *one, const KsmGuest *other)
{
    return compare_figures(ksm_guest_profit(one),
                           ksm_guest_profit(other));
}

static int ram_compare(const KsmGuest *one, const KsmGuest *other)
{
    return compare_figures(ksm_guest_ram(one), ksm_guest_ram(other));
}

static int breaks_compare(const KsmGuest *one, const KsmGuest *other)
{
    return compare_rates(ksm_guest_cow_breaks(one),
                         ksm_guest_cow_breaks(other));
}

static int cpu_compare(const KsmGuest *one, const KsmGuest *other)
{
    return compare_rates(ksm_guest_cpu(one), ksm_guest_cpu(other));
}

static int engine_compare(const KsmGuest *one, const KsmGuest *other)
{
    return strcmp(ksmctl_text_engine(one), ksmctl_text_engine(other));
}

static int backends_compare(const KsmGuest *one, const KsmGuest *other)
{
    g_autofree char *backends = ksmctl_text_backends(one);
    g_autofree char *other_backends = ksmctl_text_backends(other);

    return strcmp(backends, other_backends);
}

static int name_compare(const KsmGuest *one, const KsmGuest *other)
{
    const char *name = ksm_guest_name(one);
    const char *other_name = ksm_guest_name(other);

    if (!name || !other_name) {
        return !name - !other_name;
    }
    return strcmp(name, other_name);
}

static const TopColumn top_columns[] = {
    { "PID", 8, 0, pid_text, pid_compare },
    { "RESIDENT", 9, 0, resident_text, resident_compare },
    { "SAVED", 9, 0, saved_text, saved_compare },
    { "PROFIT", 9, WIDE, profit_text, profit_compare },
    { "RAM", 9, WIDE, ram_text, ram_compare },
    { "COW/S", 7, 0, breaks_text, breaks_compare },
    { "CPU", 5, 0, cpu_text, cpu_compare },
    { "ENGINE", 9, 0, engine_text, engine_compare },
    { "BACKEND", 10, WIDE, ksmctl_text_backends, backends_compare },
    { "NAME", -1, 0, name_text, name_compare },
};

#define SORT_FIRST      2       /* SAVED */

static gint top_compare(gconstpointer a, gconstpointer b, gpointer opaque)
{
    const KsmGuest *one = *(KsmGuest *const *)a;
    const KsmGuest *other = *(KsmGuest *const *)b;
    const TopColumn *column = opaque;
    int order = column->compare(one, other);

    return order ? order : pid_compare(one, other);
}

static bool top_column_is_shown(unsigned column)
{
    return COLS >= top_columns[column].screen;
}

static void top_sort_by_next(Top *top)
{
    do {
        top->sort = (top->sort + 1) % G_N_ELEMENTS(top_columns);
    } while (!top_column_is_shown(top->sort));
}

/* A window of one line: what goes there is cut where the screen ends. */
static WINDOW *top_line_window(int line)
{
    return line < LINES ? derwin(stdscr, 1, 0, line, 0) : NULL;
}

static void top_line(int line, const char *text)
{
    WINDOW *window = top_line_window(line);

    if (window) {
        waddstr(window, text);
        delwin(window);
    }
}

static void top_draw_host(const Top *top)
{
    const KsmSnapshot *snapshot = &top->snapshot;
    g_autofree char *percent = ksmctl_text_percent(snapshot);
    g_autofree char *saved = ksmctl_text_mib(snapshot->saved_bytes);
    g_autofree char *profit = ksmctl_text_mib(snapshot->profit_bytes);
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;

    first = g_strdup_printf("ksmd %s, %s %% of a core",
                            ksmctl_text_run(snapshot->run), percent);
    second = g_strdup_printf("%u guests, MiB saved by KSM: %s, profit: %s   "
                             "q: quit, s: sort by the next column",
                             snapshot->guests->len, saved, profit);
    top_line(0, first);
    top_line(1, second);
    if (snapshot->engines->fault) {
        g_autofree char *engines = ksmctl_text_engines(snapshot->engines);
        g_autofree char *third = g_strdup_printf("engines: %s", engines);

        top_line(2, third);
    }
}

static void top_draw_titles(const Top *top)
{
    WINDOW *window = top_line_window(HEADER_LINES - 1);
    size_t i;

    if (!window) {
        return;
    }
    for (i = 0; i < G_N_ELEMENTS(top_columns); i++) {
        if (!top_column_is_shown(i)) {
            continue;
        }
        wattrset(window, i == top->sort ? A_BOLD | A_REVERSE : A_NORMAL);
        wprintw(window, "%*s", top_columns[i].width, top_columns[i].title);
        wattrset(window, A_NORMAL);
        waddstr(window, " ");
    }
    delwin(window);
}

/* Returns the line after it. */
static int top_draw_guest(int line, const KsmGuest *guest)
{
    g_autofree char *limit = ksmctl_text_limit(guest);
    GString *text = g_string_new(NULL);
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(top_columns); i++) {
        if (top_column_is_shown(i)) {
            g_autofree char *cell = top_columns[i].text(guest);

            g_string_append_printf(text, "%*s ", top_columns[i].width, cell);
        }
    }
    top_line(line++, text->str);
    g_string_free(text, TRUE);
    if (limit) {
        top_line(line++, limit);
    }
    return line;
}

static void top_draw(Top *top)
{
    GPtrArray *guests = top->snapshot.guests;
    int line = HEADER_LINES;
    guint i;

    g_ptr_array_sort_with_data(guests, top_compare,
                               (gpointer)&top_columns[top->sort]);
    erase();
    top_draw_host(top);
    top_draw_titles(top);
    for (i = 0; i < guests->len && line < LINES; i++) {
        line = top_draw_guest(line, g_ptr_array_index(guests, i));
    }
    refresh();
}

/* A handler of signals gets nothing else. */
static volatile sig_atomic_t top_interrupted;

static void top_interrupt(int number)
{
    top_interrupted = 1;
}

/* Signals that end it do so as q does: the terminal is left in order. */
static void top_catch_signals(void)
{
    const struct sigaction action = { .sa_handler = top_interrupt };

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* Nothing would be waited for then. */
static bool top_terminal_is_gone(void)
{
    struct pollfd terminal = { .fd = STDIN_FILENO };

    return poll(&terminal, 1, 0) > 0;
}

/* Until @until_us.  False: to quit. */
static bool top_serve_keys(Top *top, int64_t until_us)
{
    int64_t left_us;

    while ((left_us = until_us - g_get_monotonic_time()) > 0) {
        int key;

        timeout(left_us / US_PER_MS + 1);
        key = getch();
        if (key == 'q' || key == 'Q' || top_interrupted) {
            return false;
        } else if (key == 's' || key == 'S') {
            top_sort_by_next(top);
            top_draw(top);
        } else if (key == KEY_RESIZE) {
            top_draw(top);
        } else if (key == ERR && top_terminal_is_gone()) {
            return false;
        }
    }
    return true;
}

static void top_run(Top *top)
{
    bool go_on = true;

    while (go_on) {
        ksm_snapshot_take(&top->snapshot, top->host, &top->meter);
        top_draw(top);
        go_on = top_serve_keys(top, g_get_monotonic_time() +
                               REFRESH_MS * US_PER_MS);
        ksm_snapshot_clear(&top->snapshot);
    }
}

/* Else ncurses would put garbage there, or end the program. */
static bool top_has_full_screen(void)
{
    bool has = false;
    int fault;

    if (setupterm(NULL, STDOUT_FILENO, &fault) == OK) {
        has = cursor_address && clear_screen;
        del_curterm(cur_term);
    }
    return has;
}

/* NULL: this is no terminal with a screen, which was said. */
static SCREEN *top_open_screen(void)
{
    const char *name = g_getenv("TERM");
    SCREEN *screen = NULL;

    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        ksmctl_error("top: standard input and output are no terminal: use "
                     "ksmctl status --watch");
        return NULL;
    }
    if (top_has_full_screen()) {
        screen = newterm(NULL, stdout, stdin);
    }
    if (!screen) {
        ksmctl_error("top: TERM='%s' is no terminal with a full screen: set "
                     "TERM to what it is, or use ksmctl status --watch",
                     name ? name : "");
    }
    return screen;
}

int ksmctl_top(const KsmctlCommand *command, KsmHost *host,
               int argc, char **argv)
{
    const GOptionEntry entries[] = { { NULL } };
    Top top = { .host = host, .sort = SORT_FIRST };
    SCREEN *screen;

    if (!ksmctl_options_parse(command, host, entries, NULL, &argc, &argv)) {
        return KSMCTL_USAGE;
    }
    screen = top_open_screen();
    if (!screen) {
        return EXIT_FAILURE;
    }
    top_catch_signals();
    cbreak();
    noecho();
    curs_set(0);
    keypad(stdscr, TRUE);
    ksm_meter_start(&top.meter, host);
    top_run(&top);
    endwin();
    delscreen(screen);
    ksm_meter_clear(&top.meter);
    return EXIT_SUCCESS;
}
