/*
 * What merging would save, as a picture
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Gnuplot gets its commands and the figures on its standard input, and gives
 * the picture back on its standard output: who writes the file can then tell
 * why it couldn't.  The background is white, as a page may be dark.
 */
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "census.h"
#include "host/memory.h"
#include "layout.h"

/* Colours that differ for those who see few, too. */
#define COLOUR_ZERO     "#bbbbbb"
#define COLOUR_WITHIN   "#4477aa"
#define COLOUR_BETWEEN  "#ee6677"

#define HEIGHT_ABOVE    400     /* of the two plots above, in pixels */
#define HEIGHT_BELOW    90      /* of the one below, and more for each row */
#define HEIGHT_ROW      24

/* What is done with the data; the share of the plot below is in BELOW. */
static const char plot_commands[] =
    "set multiplot\n"
    "set style fill solid\n"
    "set border 3\n"
    "set tics nomirror out\n"
    "set yrange [0:*]\n"
    "set ylabel 'MiB of guest memory'\n"
    "set size 0.5, 1 - BELOW\n"
    "set origin 0, BELOW\n"
    "set title 'What merging saves of each guest'\n"
    "set style data histograms\n"
    "set style histogram rowstacked\n"
    "set boxwidth 0.7\n"
    "set xlabel 'guest (process ID)'\n"
    "set xtics rotate by -25\n"
    "set key tmargin center horizontal\n"
    "plot $guests using 2:xtic(1) title 'zeros' lc rgb '" COLOUR_ZERO "', "
    "'' using 3 title 'within a guest' lc rgb '" COLOUR_WITHIN "', "
    "'' using 4 title 'between guests' lc rgb '" COLOUR_BETWEEN "'\n"
    "set origin 0.5, BELOW\n"
    "set title 'Runs of pages that have a twin'\n"
    "set xlabel 'pages in a run, from'\n"
    "unset key\n"
        "plot $runs using 2:xtic(1) lc rgb '" COLOUR_WITHIN "'\n"
    "set size 1, BELOW\n"
    "set origin 0, 0\n"
    "set title 'Where they are: each row is a mapping of guest RAM'\n"
    "set xlabel '% of the mapping'\n"
    "unset ylabel\n"
    "set lmargin 24\n"
    "set xrange [0:100]\n"
    "set yrange [ROWS - 0.5:-0.5]\n"
    "set xtics 0, 10 norotate\n"
    "set cbrange [0:100]\n"
    "set cblabel '% with a twin'\n"
    "set palette defined (0 '#f4f4f4', 100 '" COLOUR_WITHIN "')\n"
    "plot $parts using 1:2:3:ytic(4) with image pixels\n"
    "unset multiplot\n";

static double mib(double pages)
{
    return pages * ksm_page_size() / (1 << 20);
}

/*
 * A label in double quotes: who starts a guest chooses its name.  ASCII that
 * can be no command, and no markup.
 */
static void plot_label(GString *script, const CensusGuest *guest)
{
    const char *c = guest->process->name ? guest->process->name : "";

    g_string_append_c(script, '"');
    for (; *c; c++) {
        g_string_append_c(script, g_ascii_isalnum(*c) || strchr("-.+:", *c) ?
                                  *c : '?');
    }
    g_string_append_printf(script, " (%ld)\"", (long)guest->process->pid);
}

/* With a point, whatever the locale has. */
static void plot_number(GString *script, double number)
{
    char digits[G_ASCII_DTOSTR_BUF_SIZE];

    g_ascii_formatd(digits, sizeof(digits), "%.3f", number);
    g_string_append_printf(script, " %s", digits);
}

static void plot_guests(GString *script, const Census *census)
{
    guint i;

    g_string_append(script, "$guests << END\n");
    for (i = 0; i < census->guests->len; i++) {
        const CensusGuest *guest = g_ptr_array_index(census->guests, i);
        CensusShare share = census_guest_share(guest);

        if (!guest->lost) {
            plot_label(script, guest);
            plot_number(script, mib(share.zero));
            plot_number(script, mib(share.within));
            plot_number(script, mib(share.between));
            g_string_append_c(script, '\n');
        }
    }
    g_string_append(script, "END\n");
}

/* Up to the longest, those that there are none of, too. */
static void plot_runs(GString *script, const Census *census)
{
    uint64_t pages[CENSUS_RUN_CLASSES] = { 0 };
    unsigned i, classes = 1;
    int pool;

    for (i = 0; i < CENSUS_RUN_CLASSES; i++) {
        for (pool = 0; pool < CENSUS_POOLS; pool++) {
            pages[i] += census->figures[pool].runs.pages_of[i];
        }
        classes = pages[i] ? i + 1 : classes;
    }
    g_string_append(script, "$runs << END\n");
    for (i = 0; i < classes; i++) {
        g_string_append_printf(script, "%" PRIu64, UINT64_C(1) << i);
        plot_number(script, mib(pages[i]));
        g_string_append_c(script, '\n');
    }
    g_string_append(script, "END\n");
}

static bool plot_shows(const Census *census, const CensusMapping *mapping)
{
    const CensusGuest *guest = g_ptr_array_index(census->guests,
                                                 mapping->guest);

    return !guest->lost && mapping->marks &&
           mapping->pages * ksm_page_size() >= CENSUS_SHOWN_BYTES;
}

static void plot_mapping(GString *script, const Census *census,
                         const CensusMapping *mapping, unsigned row)
{
    unsigned part;

    for (part = 0; part < CENSUS_PARTS; part++) {
        uint64_t pages = layout_part_begin(mapping, part + 1) -
                         layout_part_begin(mapping, part);

        plot_number(script, (part + 0.5) * 100 / CENSUS_PARTS);
        g_string_append_printf(script, " %u", row);
        /* With large pages of the host it may have fewer than parts. */
        plot_number(script, pages ? 100.0 * mapping->parts[part] / pages : 0);
        g_string_append_c(script, ' ');
        plot_label(script, g_ptr_array_index(census->guests, mapping->guest));
        g_string_append_c(script, '\n');
    }
    g_string_append_c(script, '\n');
}

/* Returns the number of rows. */
static unsigned plot_mappings(GString *script, const Census *census)
{
    unsigned rows = 0;
    guint i;

    g_string_append(script, "$parts << END\n");
    for (i = 0; i < census->mappings->len; i++) {
        const CensusMapping *mapping = g_ptr_array_index(census->mappings, i);

        if (plot_shows(census, mapping)) {
            plot_mapping(script, census, mapping, rows++);
        }
    }
    g_string_append(script, "END\n");
    return rows;
}

static char *plot_script(const Census *census)
{
    GString *script = g_string_new(NULL);
    unsigned rows, below, height;

    plot_guests(script, census);
    plot_runs(script, census);
    rows = plot_mappings(script, census);
    below = HEIGHT_BELOW + HEIGHT_ROW * rows;
    height = HEIGHT_ABOVE + below;
    g_string_append_printf(script,
                           "set terminal svg size 900, %u dynamic noenhanced "
                           "font 'sans-serif,12' background 'white'\n"
                           "ROWS = %u\nBELOW = %u.0 / %u\n%s", height, rows,
                           below, height, plot_commands);
    return g_string_free(script, FALSE);
}

/* NULL: see @error. */
static GBytes *plot_draw(const char *script, GError **error)
{
    g_autoptr(GBytes) commands = g_bytes_new_static(script, strlen(script));
    g_autoptr(GSubprocess) gnuplot = NULL;
    g_autoptr(GBytes) picture = NULL;
    g_autoptr(GBytes) said = NULL;

    gnuplot = g_subprocess_new(G_SUBPROCESS_FLAGS_STDIN_PIPE |
                               G_SUBPROCESS_FLAGS_STDOUT_PIPE |
                               G_SUBPROCESS_FLAGS_STDERR_PIPE, error,
                               "gnuplot", "-", NULL);
    if (!gnuplot ||
        !g_subprocess_communicate(gnuplot, commands, NULL, &picture, &said,
                                  error)) {
        return NULL;
    }
    if (!g_subprocess_get_successful(gnuplot) || !g_bytes_get_size(picture)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "gnuplot failed "
                    "and said: %.*s", (int)g_bytes_get_size(said),
                    (const char *)g_bytes_get_data(said, NULL));
        return NULL;
    }
    return g_steal_pointer(&picture);
}

static bool plot_fail(GError **error)
{
    int number = errno;

    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(number),
                "%s: give another file", g_strerror(number));
    return false;
}

FILE *census_plot_open(const char *path, GError **error)
{
    g_autofree char *gnuplot = g_find_program_in_path("gnuplot");
    FILE *file;
    int fd;

    if (!gnuplot) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT, "it needs "
                    "gnuplot: install that (on Debian, gnuplot-nox), or do "
                    "without a picture");
        return NULL;
    }
    /* A picture that is there stays until there is another. */
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file) {
        plot_fail(error);
    }
    return file;
}

static bool plot_write(FILE *file, GBytes *picture, GError **error)
{
    gsize size;
    const char *data = g_bytes_get_data(picture, &size);

    /* A device or a pipe has no length, which is EINVAL. */
    if ((ftruncate(fileno(file), 0) && errno != EINVAL) ||
        fwrite(data, 1, size, file) < size || fflush(file)) {
        return plot_fail(error);
    }
    return true;
}

bool census_plot(const Census *census, FILE *file, GError **error)
{
    g_autofree char *script = plot_script(census);
    g_autoptr(GBytes) picture = plot_draw(script, error);

    return picture && plot_write(file, picture, error);
}
