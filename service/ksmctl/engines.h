/*
 * The engines that are connected to ksmtuned, from its statistics
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_ENGINES_H
#define KSMCTL_ENGINES_H

#include "command.h"
#include "host/sysfs.h"

/* Figures are named as in ksmtuned(8). */
typedef enum KsmctlEngineFigure {
    KSMCTL_ENGINE_RAM_BYTES,
    KSMCTL_ENGINE_FULL_SCANS,
    KSMCTL_ENGINE_PAGES_HASHED,
    KSMCTL_ENGINE_PAGES_TWINS,
    KSMCTL_ENGINE_PAGES_ZERO,
    KSMCTL_ENGINE_PAGES_MARKED,
    KSMCTL_ENGINE_KSMFS_SHARING_PAGES,
    KSMCTL_ENGINE_COW_BREAKS,
    KSMCTL_ENGINE_CPU_NS,
    KSMCTL_ENGINE_METADATA_BYTES,
    KSMCTL_ENGINE_FIGURES,
} KsmctlEngineFigure;

extern const char *const ksmctl_engine_figure_names[KSMCTL_ENGINE_FIGURES];

typedef struct KsmctlRate {
    bool known;
    double value;
} KsmctlRate;

/* What is NULL, or not known, ksmtuned doesn't tell, or it makes no sense. */
typedef struct KsmctlEngine {
    pid_t pid;
    char *name;
    char *domain;               /* who learns of its pages: of ksmtuned */
    const char *state;
    GPtrArray *backends;        /* of const char *; in the order given */
    char *limit;                /* what keeps it from doing all of its job */
    KsmFigure reported_ms;      /* when it said all that, monotonic */
    KsmFigure figures[KSMCTL_ENGINE_FIGURES];
    /* Since the engines before; see ksmctl_engines_measure(). */
    KsmctlRate cow_breaks_per_second;
    KsmctlRate cpu_percent;     /* of a core */
} KsmctlEngine;

typedef struct KsmctlEngines {
    GPtrArray *list;            /* of KsmctlEngine, by pid, each once */
    KsmFigure max_kernel_pages; /* to which ksmtuned holds */
    char *fault;                /* why none is known, with the way out */
    int64_t at_us;              /* see ksmctl_stats_read() */
} KsmctlEngines;

/* All of them; where that can't be, none and a fault. */
KsmctlEngines *ksmctl_engines_read(const KsmctlHost *host);
void ksmctl_engines_free(KsmctlEngines *engines);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(KsmctlEngines, ksmctl_engines_free)

/* NULL: it has none. */
KsmctlEngine *ksmctl_engines_lookup(const KsmctlEngines *engines, pid_t pid);

/*
 * Set the rates, from what was @before.  They stay unknown where that is not
 * older, or an engine wasn't among them; and what they were where an engine has
 * said nothing since.
 */
void ksmctl_engines_measure(KsmctlEngines *engines,
                            const KsmctlEngines *before);

#endif
