/*
 * The engines that are connected to ksmtuned, from its statistics
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_ENGINES_H
#define KSM_ENGINES_H

#include "daemon.h"
#include "host/host.h"

/* Figures are named as in ksmtuned(8). */
typedef enum KsmEngineFigure {
    KSM_ENGINE_RAM_BYTES,
    KSM_ENGINE_FULL_SCANS,
    KSM_ENGINE_PAGES_HASHED,
    KSM_ENGINE_PAGES_TWINS,
    KSM_ENGINE_PAGES_ZERO,
    KSM_ENGINE_PAGES_MARKED,
    KSM_ENGINE_KSMFS_SHARING_PAGES,
    KSM_ENGINE_COW_BREAKS,
    KSM_ENGINE_CPU_NS,
    KSM_ENGINE_METADATA_BYTES,
    KSM_ENGINE_FIGURES,
} KsmEngineFigure;

/* Ends with NULL. */
extern const char *const ksm_engine_states[];
extern const char *const ksm_engine_backends[];
extern const char *const ksm_engine_figure_names[KSM_ENGINE_FIGURES];

typedef struct KsmRate {
    bool known;
    double value;
} KsmRate;

/* What is NULL, or not known, ksmtuned doesn't tell, or it makes no sense. */
typedef struct KsmEngine {
    pid_t pid;
    char *name;
    char *domain;               /* who learns of its pages: of ksmtuned */
    const char *state;
    GPtrArray *backends;        /* of const char *; in the order given */
    char *limit;                /* what keeps it from doing all of its job */
    KsmFigure reported_ms;      /* when it said all that, monotonic */
    KsmFigure figures[KSM_ENGINE_FIGURES];
    /* Since the engines before; see ksm_engines_measure(). */
    KsmRate cow_breaks_per_second;
    KsmRate cpu_percent;        /* of a core */
} KsmEngine;

typedef struct KsmEngines {
    GPtrArray *list;            /* of KsmEngine, by pid, each once */
    KsmDaemon daemon;           /* to which they are connected */
    char *fault;                /* why none is known, with the way out */
    int64_t at_us;              /* see ksm_stats_read() */
} KsmEngines;

/* All of them; where that can't be, none and a fault. */
KsmEngines *ksm_engines_read(const KsmHost *host);
void ksm_engines_free(KsmEngines *engines);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(KsmEngines, ksm_engines_free)

/* NULL: it has none. */
KsmEngine *ksm_engines_lookup(const KsmEngines *engines, pid_t pid);

/*
 * Set the rates, from what was @before.  They stay unknown where that is not
 * older, or an engine wasn't among them; and what they were where an engine has
 * said nothing since.
 */
void ksm_engines_measure(KsmEngines *engines,
                         const KsmEngines *before);

#endif
